//! What each event of another service does, a file per event.

mod payment_completed;
mod payment_declined;
mod stock_rejected;
mod stock_reserved;

pub use payment_completed::payment_completed;
pub use payment_declined::payment_declined;
pub use stock_rejected::stock_rejected;
pub use stock_reserved::stock_reserved;
