//! The inbox: apply each event once, in one transaction per batch of a partition; park what can't be applied.

pub mod error_policy;
pub mod subscriptions;
pub mod unit_of_work;

pub use error_policy::{HandlerError, Rejection};
pub use subscriptions::Subscriptions;
pub use unit_of_work::{Context, Received, UnitOfWork};
