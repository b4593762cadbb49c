//! The order aggregate, pure: commands and facts in, domain events out; no I/O, no clock, no ids drawn.

pub mod decide;
pub mod event;
pub mod order;
pub mod placement;
pub mod recipient;
pub mod text;
pub mod values;
pub mod view;

pub use decide::{Command, Fact, Refusal, Shortage, decide, react};
pub use event::OrderEvent;
pub use order::{Facts, ImpossibleTransition, Order, Terms};
pub use placement::{Line, Placement};
pub use recipient::{Address, Email, Recipient};
pub use text::{CustomerId, PaymentMethod, Sku, Text};
pub use values::{CancellationReason, CurrencyCode, InvalidValue, OrderId, Quantity, Status, UnitPrice};
pub use view::{OrderView, Progress, Stage, replay};

#[cfg(test)]
mod tests;
