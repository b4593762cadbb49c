//! What inventory measures beyond what every service does.

use metrics::counter;
use telemetry::metrics::Metric;

pub const METRICS: &[Metric] = &[Metric::counter(
    "inventory_stock_alerts_total",
    &[],
    "Times that a SKU fell below its reorder threshold (each is published as `StockLevelLow`).",
)];

/// Counts alerts that are committed.
pub(super) fn count(alerts: u64) {
    counter!("inventory_stock_alerts_total").increment(alerts);
}
