//! What analytics counts, by the events that it has applied.

use std::collections::BTreeMap;

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};

use crate::verify::services::reason_name;

/// The counters that the applied events come to.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub(in crate::verify) funnel: BTreeMap<String, i128>,
    pub(in crate::verify) revenue: BTreeMap<String, [i128; 3]>,
    pub(in crate::verify) best_sellers: BTreeMap<String, [i128; 2]>,
    pub(in crate::verify) time_to_confirm: BTreeMap<i64, i128>,
}

impl Counted {
    /// Adds what other orders come to.
    pub(in crate::verify) fn add_all(&mut self, other: &Self) {
        super::add(&mut self.funnel, &other.funnel, |sum, orders| *sum += orders);
        super::add(&mut self.revenue, &other.revenue, super::add_each);
        super::add(&mut self.best_sellers, &other.best_sellers, super::add_each);
        super::add(&mut self.time_to_confirm, &other.time_to_confirm, |sum, orders| *sum += orders);
    }

    pub(in crate::verify) fn count(
        &mut self,
        placed: Option<&OrderPlaced>,
        confirmed: Option<&OrderConfirmed>,
        cancelled: Option<&OrderCancelled>,
        (is_reserved, is_paid): (bool, bool),
    ) {
        let cancelled_stage = cancelled.map(|event| format!("cancelled_{}", reason_name(event.reason)));
        for stage in [
            placed.map(|_| "placed"),
            is_reserved.then_some("reserved"),
            is_paid.then_some("paid"),
            confirmed.map(|_| "confirmed"),
            cancelled_stage.as_deref(),
        ]
        .into_iter()
        .flatten()
        {
            *self.funnel.entry(stage.to_owned()).or_default() += 1;
        }
        let (Some(placed), Some(confirmed)) = (placed, confirmed) else { return };
        let revenue = self.revenue.entry(placed.currency.clone()).or_default();
        revenue[0] += 1;
        for line in &placed.lines {
            let units = i128::from(line.quantity);
            let minor = units * i128::from(line.unit_price_minor);
            revenue[1] += units;
            revenue[2] += minor;
            let sales = self.best_sellers.entry(format!("{} {}", placed.currency, line.sku)).or_default();
            sales[0] += units;
            sales[1] += minor;
        }
        let milliseconds = (confirmed.occurred_at - placed.occurred_at).num_milliseconds();
        *self.time_to_confirm.entry(upper_bound(milliseconds)).or_default() += 1;
    }
}

/// The upper bound of the bucket of a duration in milliseconds: 32 buckets each time that it doubles, as HdrHistogram has
/// them.
const fn upper_bound(milliseconds: i64) -> i64 {
    if milliseconds <= 0 {
        return 0;
    }
    let mut width = 1_i64;
    while milliseconds / width >= 64 {
        width *= 2;
    }
    milliseconds / width * width + (width - 1)
}

#[cfg(test)]
mod tests {
    use super::upper_bound;

    #[test]
    fn a_bucket_holds_what_differs_by_three_per_cent_at_most() {
        let bounds = [-5, 0, 1, 63, 64, 65, 127, 128, 1_000].map(upper_bound);
        assert_eq!(bounds, [0, 0, 1, 63, 65, 65, 127, 131, 1_007]);
    }
}
