//! Every metric of the system, by the crate that measures it.

use service_list::ServiceName;
use telemetry::metrics::{Kind, Metric};

/// The services, in the order in which an order meets them.
pub const SERVICES: [&str; ServiceName::NAMES.len()] = ServiceName::NAMES;

/// The services that publish events.
pub const PUBLISHERS: [&str; 3] = ["order", "inventory", "payment"];

/// The services that have workers beside HTTP and the consumer.
pub const WITH_WORKERS: [&str; 4] = ["order", "payment", "notification", "analytics"];

/// The services that read or change rows of several aggregates at once outside of their consumer.
pub const WITH_CORRUPT_ROWS: [&str; 3] = ["order", "payment", "notification"];

/// The metrics of one crate.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// Where the table stands.
    pub source: &'static str,
    /// Which services expose them.
    pub services: &'static [&'static str],
    /// The table.
    pub metrics: &'static [Metric],
}

/// All sections.
pub const SECTIONS: [Section; 10] = [
    Section {
        title: "Orders",
        source: "services/order/src/adapters/metrics.rs",
        services: &["order"],
        metrics: order::adapters::metrics::METRICS,
    },
    Section {
        title: "Stock",
        source: "services/inventory/src/adapters/metrics.rs",
        services: &["inventory"],
        metrics: inventory::adapters::metrics::METRICS,
    },
    Section {
        title: "Payments",
        source: "services/payment/src/adapters/metrics.rs",
        services: &["payment"],
        metrics: payment::adapters::metrics::METRICS,
    },
    Section {
        title: "Mails",
        source: "services/notification/src/adapters/metrics.rs",
        services: &["notification"],
        metrics: notification::adapters::metrics::METRICS,
    },
    Section {
        title: "Revenue",
        source: "services/analytics/src/adapters/metrics.rs",
        services: &["analytics"],
        metrics: analytics::adapters::metrics::METRICS,
    },
    Section {
        title: "HTTP, pool, workers",
        source: "shared/service/src/metrics.rs",
        services: &SERVICES,
        metrics: service::METRICS,
    },
    Section {
        title: "Outbox and relay",
        source: "shared/outbox/src/metrics.rs",
        services: &SERVICES,
        metrics: outbox::METRICS,
    },
    Section {
        title: "Consumers",
        source: "shared/inbox/src/metrics.rs",
        services: &SERVICES,
        metrics: inbox::METRICS,
    },
    Section {
        title: "Broker client",
        source: "shared/messaging/src/lib.rs",
        services: &SERVICES,
        metrics: messaging::METRICS,
    },
    Section {
        title: "Process and telemetry",
        source: "shared/telemetry/src/metrics.rs",
        services: &SERVICES,
        metrics: telemetry::metrics::METRICS,
    },
];

/// Every metric, with its section.
pub fn all() -> impl Iterator<Item = (&'static Section, &'static Metric)> {
    SECTIONS.iter().flat_map(|section| section.metrics.iter().map(move |metric| (section, metric)))
}

/// What a service exposes.
pub fn exposed_by(service: &str) -> impl Iterator<Item = &'static Metric> {
    all()
        .filter(move |(section, metric)| services(section, metric).contains(&service))
        .map(|(_, metric)| metric)
}

/// Which services expose a metric: what the outbox measures per topic needs topics to publish on, progress needs a worker,
/// and a corrupt row is counted where rows of several aggregates are read or changed.
pub fn services(section: &Section, metric: &Metric) -> &'static [&'static str] {
    if section.source == "shared/outbox/src/metrics.rs" && metric.labels.contains(&"topic") {
        &PUBLISHERS
    } else if ["worker_paused", "worker_stalled"].contains(&metric.name) {
        &WITH_WORKERS
    } else if metric.name == "corrupt_rows_total" {
        &WITH_CORRUPT_ROWS
    } else {
        section.services
    }
}

/// The metric to which a series of this name belongs.
pub fn of_series(name: &str) -> Option<&'static Metric> {
    all().map(|(_, metric)| metric).find(|metric| match metric.kind {
        Kind::Counter | Kind::Gauge => metric.name == name,
        Kind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|end| name.strip_suffix(end).is_some_and(|base| base == metric.name)),
    })
}
