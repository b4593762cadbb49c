//! What a batch of milestones adds to the counters.

use std::collections::BTreeMap;

use super::{Bound, Cart, Milestone, Reason};

/// A step of the funnel: orders that have reached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Placed,
    Reserved,
    Paid,
    Confirmed,
    Cancelled(Reason),
}

impl Stage {
    pub const ALL: [Self; 9] = [
        Self::Placed,
        Self::Reserved,
        Self::Paid,
        Self::Confirmed,
        Self::Cancelled(Reason::OutOfStock),
        Self::Cancelled(Reason::PaymentDeclined),
        Self::Cancelled(Reason::CustomerRequest),
        Self::Cancelled(Reason::TimedOut),
        Self::Cancelled(Reason::Unknown),
    ];

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Reserved => "reserved",
            Self::Paid => "paid",
            Self::Confirmed => "confirmed",
            Self::Cancelled(Reason::OutOfStock) => "cancelled_out_of_stock",
            Self::Cancelled(Reason::PaymentDeclined) => "cancelled_payment_declined",
            Self::Cancelled(Reason::CustomerRequest) => "cancelled_customer_request",
            Self::Cancelled(Reason::TimedOut) => "cancelled_timed_out",
            Self::Cancelled(Reason::Unknown) => "cancelled_unknown",
        }
    }
}

/// Confirmed orders of one currency. No sum of orders outgrows 128 bits: each order is bounded by 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revenue {
    pub orders: i64,
    pub units: i128,
    pub revenue_minor: i128,
}

/// Confirmed sales of one SKU in one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sales {
    pub units: i128,
    pub revenue_minor: i128,
}

/// Additions to the counters, each in the order in which its rows are locked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Orders per stage of the funnel.
    pub funnel: BTreeMap<Stage, i64>,
    /// Per currency.
    pub revenue: BTreeMap<String, Revenue>,
    /// Per currency and SKU.
    pub sales: BTreeMap<(String, String), Sales>,
    /// Orders per bucket of the time from placed to confirmed.
    pub time_to_confirm: BTreeMap<Bound, i64>,
}

impl Tally {
    pub fn count(&mut self, milestone: &Milestone) {
        let stage = match milestone {
            Milestone::Placed => Stage::Placed,
            Milestone::Reserved => Stage::Reserved,
            Milestone::Paid => Stage::Paid,
            Milestone::Confirmed => Stage::Confirmed,
            Milestone::Cancelled(reason) => Stage::Cancelled(*reason),
            Milestone::Sold { cart, confirmed_at } => {
                self.sell(cart);
                let milliseconds = (*confirmed_at - cart.placed_at).num_milliseconds();
                *self.time_to_confirm.entry(Bound::of(milliseconds)).or_insert(0) += 1;
                return;
            }
        };
        *self.funnel.entry(stage).or_insert(0) += 1;
    }

    fn sell(&mut self, cart: &Cart) {
        let revenue = self.revenue.entry(cart.currency.clone()).or_default();
        revenue.orders += 1;
        for line in &cart.lines {
            let units = i128::from(line.quantity);
            let minor = units * i128::from(line.unit_price_minor);
            revenue.units += units;
            revenue.revenue_minor += minor;
            let sales = self.sales.entry((cart.currency.clone(), line.sku.clone())).or_default();
            sales.units += units;
            sales.revenue_minor += minor;
        }
    }
}
