//! What inventory measures beyond what every service does.

use metrics::counter;
use telemetry::metrics::Metric;

use crate::application::fulfilment::Fulfilment;
use crate::domain::StockEvent;

/// What this service measures.
pub const METRICS: &[Metric] = &[Metric::counter(
    "inventory_stock_alerts_total",
    &[],
    "Times that a SKU fell below its reorder threshold (each is published as `StockLevelLow`).",
)];

/// How many SKUs fell low in this decision.
pub(super) fn alerts(fulfilment: &Fulfilment) -> u64 {
    let fell_low = |event: &StockEvent| matches!(event, StockEvent::FellLow { .. });
    fulfilment.happenings().iter().filter(|happening| fell_low(&happening.event)).count() as u64
}

/// Counts alerts that are committed.
pub(super) fn count(alerts: u64) {
    counter!("inventory_stock_alerts_total").increment(alerts);
}
