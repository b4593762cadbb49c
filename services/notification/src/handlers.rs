//! What notification does on each event, one file per event.

mod order_cancelled;
mod order_confirmed;
mod order_placed;
mod payment_refunded;

use inbox::Rejection;

use crate::domain::Refusal;

pub use order_cancelled::order_cancelled;
pub use order_confirmed::order_confirmed;
pub use order_placed::order_placed;
pub use payment_refunded::payment_refunded;

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
