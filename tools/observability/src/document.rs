//! docs/metrics.md.

use std::fmt::Write as _;

use telemetry::metrics::Kind;

use crate::catalogue::{SECTIONS, SERVICES, services};

const HEAD: &str = "\
<!-- Written by `make generate` from the tables that each section names; a test compares. -->

# Metrics

Every service exposes its metrics at `GET /metrics` in Prometheus' text format. Prometheus scrapes each service as a job of
its name (SERVICES), so that the label `job` says which service it is.

Units stand at the end of the names (`_seconds`, `_bytes`); a counter ends with `_total`. The values of labels are few:
`topic` is the name without its deployment's prefix (`orders`, `reservations`, `payments`, `stock`), `route` is the
route's template (`/orders/{id}`). No label ever holds an id, a SKU or a customer.

Gauges that need the database are read by one task per service every five seconds, never while they are scraped;
`metrics_sampled_timestamp_seconds` says when. Counters and histograms whose labels are known begin at 0, so that an alert on
them can fire at their first event. A test starts the five services, places orders, and compares what they expose with
this page, both ways.

What to do when an alert fires: [operations.md](operations.md).
";

/// The whole page.
pub(crate) fn render() -> String {
    let mut page = HEAD.replace("(SERVICES)", &format!("(`{}`)", SERVICES.join("`, `")));
    for section in &SECTIONS {
        let _ = write!(
            page,
            "\n## {}\n\nTable: [`{}`](../{}).\n\n",
            section.title, section.source, section.source
        );
        page.push_str("| metric | type | labels | exposed by | meaning |\n|---|---|---|---|---|\n");
        for metric in section.metrics {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let exposed = services(section, metric);
            let by = if exposed == SERVICES { "every service".to_owned() } else { exposed.join(", ") };
            let (labels, help) = (labels.join(", "), metric.help);
            let _ = writeln!(page, "| `{}` | {kind} | {labels} | {by} | {help} |", metric.name);
        }
    }
    page
}
