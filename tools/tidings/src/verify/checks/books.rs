//! G4: every order reaches exactly one end; units and money add up.

use std::collections::BTreeMap;

use super::count;
use crate::text::money;
use crate::verify::case::Case;
use crate::verify::model::End;
use crate::verify::report::{Findings, Guarantee, Verdict};

/// Counts ends, units and money.
#[must_use]
pub fn check(case: &Case<'_>) -> Verdict {
    let mut violations = Findings::default();
    let mut unverifiable = Findings::default();
    let (mut confirmed, mut cancelled, mut open) = (0, 0, 0);
    for (order_id, story) in &case.model.orders {
        match (story.end(), story.ends()) {
            (Some(End::Confirmed), _) => confirmed += 1,
            (Some(End::Cancelled(_)), _) => cancelled += 1,
            (None, 0) => open += 1,
            (None, ends) => violations.add(format!("order {order_id} has {ends} ends")),
        }
    }
    if open > 0 {
        unverifiable.add(format!("{open} orders have not ended"));
    }
    units(case, &mut violations);
    let is_settled = case.is_quiet() && case.excluded.is_empty();
    if is_settled {
        balance(case, &mut violations);
    } else if !case.is_quiet() {
        unverifiable.add("the books can't be closed while the system is busy (--wait waits)".to_owned());
    }
    let figures = vec![
        ("confirmed", confirmed),
        ("cancelled", cancelled),
        ("open", open),
        ("SKUs", count(case.snapshot.stock.len())),
        ("orders excluded", count(case.excluded.len())),
    ];
    Verdict::new(Guarantee::G4, figures, violations, unverifiable)
}

/// Per SKU, at any moment: replenished = available + reserved + committed, and nothing is negative.
fn units(case: &Case<'_>, violations: &mut Findings) {
    for row in &case.snapshot.stock {
        let sum = row.available + row.reserved + row.committed;
        let is_negative =
            [row.replenished, row.available, row.reserved, row.committed].iter().any(|n| *n < 0);
        if row.replenished != sum || is_negative {
            violations.add(format!(
                "SKU {}: {} replenished, but {} available + {} reserved + {} committed",
                row.sku, row.replenished, row.available, row.reserved, row.committed
            ));
        }
    }
}

/// Per currency: captured - refunded, by the provider's own ledger, is the total of the confirmed orders.
fn balance(case: &Case<'_>, violations: &mut Findings) {
    let mut sums: BTreeMap<&str, (i128, i128)> = BTreeMap::new();
    for row in &case.snapshot.ledger {
        let kept = match row.step.as_str() {
            "capture" => i128::from(row.amount_minor),
            "refund" => -i128::from(row.amount_minor),
            _ => 0,
        };
        sums.entry(&row.currency).or_default().0 += kept;
    }
    for story in case.model.orders.values().filter(|story| story.end() == Some(End::Confirmed)) {
        if let Some(placed) = story.placed.first() {
            sums.entry(&placed.currency).or_default().1 += i128::from(placed.total_minor);
        }
    }
    for (currency, (kept, owed)) in sums {
        if kept != owed {
            violations.add(format!(
                "{currency}: the provider holds {} (captured less refunded), confirmed orders cost {}",
                money(kept),
                money(owed)
            ));
        }
    }
}
