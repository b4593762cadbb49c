//! The use cases, one file each, and the ports that they need from outside.

pub mod compensate;
pub mod payments;
pub mod perform_steps;
pub mod provider;
pub mod record_reports;
pub mod remember_order;
pub mod start_charging;

use contracts::order::{OrderCancelled, OrderPlaced};
use contracts::reservation::StockReserved;
use events::Subscribe as _;
use inbox::Subscriptions;

pub use compensate::compensate;
pub use payments::{Entry, Payments};
pub use remember_order::remember_order;
pub use start_charging::start_charging;

/// What payment reacts to. `OrderConfirmed` is not among it: the money was taken before, and nothing follows from it.
#[must_use]
pub fn subscriptions() -> Subscriptions<Payments> {
    Subscriptions::new()
        .on::<OrderPlaced>(remember_order)
        .on::<StockReserved>(start_charging)
        .on::<OrderCancelled>(compensate)
}
