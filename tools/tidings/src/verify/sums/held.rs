//! What reservations hold.

use std::collections::BTreeMap;

use crate::verify::units::Units;

/// Units that reservations hold or have sold, by SKU.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub(in crate::verify) reserved: BTreeMap<String, i128>,
    pub(in crate::verify) committed: BTreeMap<String, i128>,
}

impl Held {
    pub(in crate::verify) fn add(to: &mut BTreeMap<String, i128>, lines: &Units<'_>) {
        for (sku, quantity) in lines {
            *to.entry((*sku).to_owned()).or_default() += quantity;
        }
    }

    /// Adds what others hold.
    pub(in crate::verify) fn add_all(&mut self, other: &Self) {
        super::add(&mut self.reserved, &other.reserved, |sum, units| *sum += units);
        super::add(&mut self.committed, &other.committed, |sum, units| *sum += units);
    }
}
