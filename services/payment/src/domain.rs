//! One payment per order: what is known of it, what it costs, and which step of its saga comes next. Pure.

pub mod charge;
pub mod payment;
pub mod saga;
pub mod state;
pub mod step;

#[cfg(test)]
mod tests;

pub use charge::{Charge, Money, PaymentMethod};
pub use payment::{OrderId, Payment, PaymentEvent, PaymentId, Refusal};
pub use state::{Call, NextStep, State};
pub use step::{Answer, RefundId, Report, Step, Task, TransactionId};
