//! Use cases: load → decide → store, in one transaction.

pub mod cancel_order;
pub mod dispatch;
pub mod expire_orders;
pub mod idempotency;
pub mod place_order;
pub mod transaction;
pub mod work;

pub use dispatch::{Changes, DeadlineChange, Recorded, ViewChange};
pub use idempotency::{Answer, CustomerKey, PlaceOutcome, Placing};
pub use transaction::Transaction;
pub use work::{Outcome, Stream, Work, WorkError};
