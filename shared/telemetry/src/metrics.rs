//! The Prometheus recorder of this process, and what it says about the process itself.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// Bounds of every histogram whose name ends with `_seconds`.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

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
            .set_buckets_for_metric(
                metrics_exporter_prometheus::Matcher::Suffix("_seconds".to_owned()),
                &SECONDS,
            )?
            .install_recorder()?;
        let process = Collector::default();
        process.describe();
        Ok(INSTALLED.get_or_init(|| Self { handle, process }).clone())
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Moves what histograms have gathered into their buckets; to be called every few seconds, or they grow.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}
