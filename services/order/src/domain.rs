//! The order aggregate, pure: commands and facts in, domain events out; no I/O, no clock, no ids drawn.

pub mod decide;
pub mod event;
pub mod order;
pub mod placement;
pub mod values;
pub mod view;

pub use decide::{Command, Fact, Refusal, Shortage, decide, react};
pub use event::OrderEvent;
pub use order::{Facts, ImpossibleTransition, Order, Terms};
pub use placement::{Line, Placement};
pub use values::{
    Address, CancellationReason, CurrencyCode, CustomerId, Email, InvalidValue, OrderId, PaymentMethod,
    Quantity, Recipient, Sku, Status, Text, UnitPrice,
};
pub use view::{OrderView, Progress, Stage, replay};

#[cfg(test)]
mod tests;
