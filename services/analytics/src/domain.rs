//! What the facts of an order and of a SKU add to the read models: pure functions.

pub mod alert;
pub mod duration;
pub mod order;
pub mod tally;

#[cfg(test)]
mod tests;

pub use alert::{Alert, StockFact};
pub use duration::Bound;
pub use order::{Cart, CartLine, Milestone, OrderFact, OrderId, OrderProgress, Reason, Refusal, Status};
pub use tally::{Revenue, Sales, Stage, Tally};
