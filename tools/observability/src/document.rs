//! docs/metrics.md.

use std::fmt::Write as _;

use telemetry::metrics::Kind;

use crate::catalogue::{SECTIONS, SERVICES, services};
use crate::wrap::wrapped;

const HEAD: &str = "\
<!-- Written by `make generate` from the tables that each section names; a test compares. -->

# Metrics

Every service exposes its metrics at `GET /metrics` in Prometheus' text format. Prometheus scrapes each service as a job
of its name (SERVICES), so the label `job` names the service.

Units are at the end of names (`_seconds`, `_bytes`); a counter ends with `_total`. Labels have few values: `topic` is
the name without the prefix of the deployment (`orders`, `reservations`, `payments`, `stock`), `route` is the template
of the route (`/orders/{id}`). No label has an id, a SKU or a customer.

One task per service reads the gauges that need the database every five seconds, never during a scrape;
`metrics_sampled_timestamp_seconds` is the time of the last reading. Counters and histograms with known labels begin at
0, so an alert can fire at the first event. A test compares what the five services expose with this page, both ways.

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
        for metric in section.metrics {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = match labels.len() {
                0 => String::new(),
                1 => format!(", label {}", labels[0]),
                _ => format!(", labels {}", labels.join(", ")),
            };
            let exposed = services(section, metric);
            let by = if exposed == SERVICES { "every service".to_owned() } else { exposed.join(", ") };
            let entry = format!("- **`{}`** ({kind}{labels}), {by}", metric.name);
            let _ = writeln!(page, "{}\\\n  {}", wrapped(&entry, 2), wrapped(metric.help, 2));
        }
    }
    page
}
