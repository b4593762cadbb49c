//! The Prometheus recorder of this process, and what it says about the process itself.

use std::sync::OnceLock;

use metrics::counter;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

pub use metric_table::{Kind, Metric, describe};

/// Bounds of every histogram whose name ends with `_seconds`: from a statement to an order's deadline.
const SECONDS: [f64; 17] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// Bounds of every histogram whose name ends with `_records`.
const RECORDS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Why spans are not exported.
const DROPS: [&str; 2] = ["queue_full", "export_failed"];

/// Metrics of the process and of its telemetry. The names of `process_*` are those of Prometheus' own
/// client libraries.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "log_lines_suppressed_total",
        &[],
        "Warnings and errors that were not written because their place in the code exceeded its rate limit; a summary line has their number.",
    ),
    Metric::counter("process_cpu_seconds_total", &[], "Total user and system CPU time spent in seconds."),
    Metric::gauge("process_max_fds", &[], "Maximum number of open file descriptors."),
    Metric::gauge("process_open_fds", &[], "Number of open file descriptors."),
    Metric::gauge("process_resident_memory_bytes", &[], "Resident memory size in bytes."),
    Metric::gauge(
        "process_start_time_seconds",
        &[],
        "Start time of the process since unix epoch in seconds.",
    ),
    Metric::gauge("process_threads", &[], "Number of OS threads in the process."),
    Metric::gauge("process_virtual_memory_bytes", &[], "Virtual memory size in bytes."),
    Metric::gauge(
        "process_virtual_memory_max_bytes",
        &[],
        "Maximum amount of virtual memory available in bytes.",
    ),
    Metric::counter(
        "telemetry_spans_dropped_total",
        &["reason"],
        "Spans that were not exported: `queue_full` (they ended faster than they were exported) or `export_failed`.",
    ),
    Metric::counter("telemetry_spans_exported_total", &[], "Spans that the collector accepted."),
];

/// What has been recorded. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
}

impl Metrics {
    /// The recorder of this process, installed at the first call.
    ///
    /// # Errors
    /// When another recorder was installed before.
    pub fn install() -> Result<Self, BuildError> {
        // Several services may live in one test process: they share the recorder.
        static INSTALLED: OnceLock<Metrics> = OnceLock::new();
        if let Some(installed) = INSTALLED.get() {
            return Ok(installed.clone());
        }
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
            .set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), &RECORDS)?
            .install_recorder()?;
        let process = Collector::default();
        describe(METRICS);
        for reason in DROPS {
            counter!("telemetry_spans_dropped_total", "reason" => reason).increment(0);
        }
        Ok(INSTALLED.get_or_init(|| Self { handle, process }).clone())
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Moves what histograms have gathered into their buckets; to be called every few seconds, or they grow.
    pub fn maintain(&self) {
        self.handle.run_upkeep();
    }
}
