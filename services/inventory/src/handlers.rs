//! What each subscribed event does.

mod order_cancelled;
mod order_confirmed;
mod order_placed;

use inbox::Rejection;

pub use order_cancelled::order_cancelled;
pub use order_confirmed::order_confirmed;
pub use order_placed::order_placed;

use crate::domain::Refusal;

/// A refused event becomes a dead letter.
impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
