//! Use cases: load → decide → store, in one transaction.

pub mod cancel_order;
pub mod dispatch;
pub mod expire_orders;
pub mod idempotency;
pub mod place_order;
pub mod projection;
pub mod record_fact;
pub mod schedule;
pub mod stream;
pub mod transaction;
pub mod work;

pub use dispatch::Changes;
pub use idempotency::{Answer, CustomerKey, PlaceOutcome};
pub use projection::ViewChange;
pub use schedule::DeadlineChange;
pub use stream::{Recorded, Stream};
pub use transaction::Transaction;
pub use work::{Outcome, Work, WorkError};
