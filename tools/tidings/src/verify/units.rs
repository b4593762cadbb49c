//! Units by SKU, as events tell them.

use std::collections::BTreeMap;

use contracts::order::OrderPlaced;
use contracts::reservation::ReservedLine;

/// Units by SKU.
pub(in crate::verify) type Units<'a> = BTreeMap<&'a str, i128>;

/// Reserved lines by SKU.
pub(in crate::verify) fn units(lines: &[ReservedLine]) -> Units<'_> {
    let mut units = Units::new();
    for line in lines {
        *units.entry(line.sku.as_str()).or_default() += i128::from(line.quantity);
    }
    units
}

/// What an order asks for, by SKU.
pub(in crate::verify) fn ordered(placed: &OrderPlaced) -> Units<'_> {
    let mut units = Units::new();
    for line in &placed.lines {
        *units.entry(line.sku.as_str()).or_default() += i128::from(line.quantity);
    }
    units
}
