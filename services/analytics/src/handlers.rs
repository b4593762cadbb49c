//! What each subscribed event adds to the read models.

mod order_cancelled;
mod order_confirmed;
mod order_placed;
mod payment_completed;
mod stock_level_low;
mod stock_level_restored;
mod stock_replenished;
mod stock_reserved;

use inbox::Rejection;

pub use order_cancelled::order_cancelled;
pub use order_confirmed::order_confirmed;
pub use order_placed::order_placed;
pub use payment_completed::payment_completed;
pub use stock_level_low::stock_level_low;
pub use stock_level_restored::stock_level_restored;
pub use stock_replenished::stock_replenished;
pub use stock_reserved::stock_reserved;

use crate::domain::Refusal;

/// A refused event becomes a dead letter.
impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
