//! What orders add up to. Orders of which nothing more comes are kept apart from all others: their part stays.

use std::collections::HashSet;

use uuid::Uuid;

use super::case::Case;
use super::sums::Sums;

/// Sums over all orders.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    done: Sums,
    open: Sums,
    /// Orders that are in `done`, and are compared once more.
    counted: HashSet<Uuid>,
    counted_again: Sums,
}

impl Totals {
    /// The sums that an order belongs to.
    pub(super) fn of(&mut self, case: &Case<'_>, order_id: Uuid) -> &mut Sums {
        if self.counted.contains(&order_id) {
            &mut self.counted_again
        } else if case.is_done(order_id) {
            &mut self.done
        } else {
            &mut self.open
        }
    }

    /// The sums over all orders.
    pub fn sums(&self) -> Sums {
        let mut sums = self.done.clone();
        sums.held.add_all(&self.open.held);
        sums.counted.add_all(&self.open.counted);
        sums.money.add_all(&self.open.money);
        sums.failed_mails.add_all(&self.open.failed_mails);
        sums
    }

    /// Those of which nothing more comes; all others are to be added anew.
    pub(super) fn done(&self) -> Self {
        Self { done: self.done.clone(), counted: self.counted.clone(), ..Self::default() }
    }

    /// Nothing more comes of an order; gives whether it was not in `done` before.
    pub(super) fn close(&mut self, order_id: Uuid) -> bool {
        !self.counted.remove(&order_id)
    }

    /// Says that an order is in `done` already, and is not to be added again.
    pub(super) fn mark_counted(&mut self, order_id: Uuid) {
        self.counted.insert(order_id);
    }
}
