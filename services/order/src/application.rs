//! Use cases: load → decide → store → publish. Pure; adapters load before and store after.

pub mod cancel_order;
pub mod deadlines;
pub mod dispatch;
pub mod expire_orders;
pub mod handler;
pub mod place_order;
pub mod projection;
pub mod publisher;
pub mod record_fact;
pub mod stream;
pub mod work;

pub use deadlines::DeadlineChange;
pub use dispatch::Dispatcher;
pub use handler::{DomainEventHandler, Recorded};
pub use projection::ViewChange;
pub use stream::Stream;
pub use work::{Work, WorkError};
