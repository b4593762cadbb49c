//! What orders come to, and what was captured of it.

use std::collections::BTreeMap;

use crate::text::money;
use crate::verify::check::Check;
use crate::verify::report::Comparisons;

/// Money by currency, and how many orders were left out.
#[derive(Clone, Debug, Default)]
pub struct Money {
    pub(in crate::verify) currencies: BTreeMap<String, (i128, i128)>,
    pub(in crate::verify) open: usize,
    pub(in crate::verify) under_way: usize,
}

impl Money {
    /// Adds what other orders come to.
    pub(in crate::verify) fn add_all(&mut self, other: &Self) {
        super::add(&mut self.currencies, &other.currencies, |sum, (balance, expected)| {
            sum.0 += balance;
            sum.1 += expected;
        });
        self.open += other.open;
        self.under_way += other.under_way;
    }

    /// Compares the sums of all orders.
    pub(in crate::verify) fn whole(&self, out: &mut Comparisons) {
        for (currency, (balance, expected)) in &self.currencies {
            out.holds(Check::Money, balance == expected, || {
                let (balance, expected) = (money(*balance), money(*expected));
                format!(
                    "{currency}: captured less refunded is {balance}, confirmed orders come to {expected}"
                )
            });
        }
        if self.open > 0 {
            out.not_compared(Check::Ends, format!("{} orders have not ended", self.open));
        }
        if self.under_way > 0 {
            out.not_compared(Check::Money, format!("{} orders are under way", self.under_way));
        }
    }
}
