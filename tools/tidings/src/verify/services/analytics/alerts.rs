//! What analytics knows of SKUs: level, threshold and open alert.

use std::collections::BTreeSet;

use contracts::stock::{StockLevelLow, StockLevelRestored, StockReplenished};
use contracts::{Event, Topic};

use super::ANALYTICS;
use crate::verify::case::{Case, Occurrence};
use crate::verify::check::Check;
use crate::verify::fates::Fate;
use crate::verify::report::Comparisons;

/// Compares what analytics knows of SKUs with what it has applied.
pub(in crate::verify) fn skus(case: &Case<'_>, out: &mut Comparisons) {
    let rows = &case.snapshot.analytics;
    const CHECK: Check = Check::StockAlerts;
    let mut known = BTreeSet::new();
    for (sku, events) in &case.skus {
        let is_applied =
            |it: &&Occurrence<'_>| case.fate(ANALYTICS, it.event.event_id()) == Some(Fate::Applied);
        let applied: Vec<&Occurrence<'_>> = events.iter().filter(is_applied).collect();
        let Some(last) = applied.iter().max_by_key(|it| it.event.sequence()) else { continue };
        known.insert(*sku);
        let Some(row) = rows.alerts.get(*sku) else {
            out.violated(CHECK, format!("SKU {sku}: analytics has applied its events and has no row"));
            continue;
        };
        let (mut available, mut threshold, mut raised_at, mut times_raised) = (0, 0, None, 0);
        for it in &applied {
            if let Some(low) = StockLevelLow::from_any(it.event) {
                (available, threshold, raised_at) = (low.available, low.threshold, Some(low.occurred_at));
                times_raised += 1;
            } else if let Some(came) = StockReplenished::from_any(it.event) {
                (available, threshold) = (came.available, came.threshold);
                raised_at = raised_at.filter(|_| came.available < came.threshold);
            } else if let Some(rose) = StockLevelRestored::from_any(it.event) {
                (available, threshold, raised_at) = (rose.available, rose.threshold, None);
            }
        }
        let subject = format!("analytics' SKU {sku}");
        out.same(CHECK, &subject, "sequence", &row.sequence, &last.event.sequence());
        out.same(CHECK, &subject, "available", &row.available, &available);
        out.same(CHECK, &subject, "threshold", &row.threshold, &threshold);
        out.same(CHECK, &subject, "raised_at", &row.raised_at, &raised_at);
        out.same(CHECK, &subject, "times_raised", &row.times_raised, &times_raised);
    }
    let is_left_out = |sku: &str| case.history.unread.has_key(Topic::Stock, sku.as_bytes());
    for sku in rows.alerts.keys().filter(|sku| !known.contains(sku.as_str()) && !is_left_out(sku)) {
        out.violated(CHECK, format!("SKU {sku}: analytics has a row, and has applied nothing of it"));
    }
}
