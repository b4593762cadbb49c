//! What payment does on each event, one file per event.

mod order_cancelled;
mod order_placed;
mod stock_reserved;

use inbox::Rejection;

use crate::domain::Refusal;

pub use order_cancelled::order_cancelled;
pub use order_placed::order_placed;
pub use stock_reserved::stock_reserved;

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
