//! One call at start-up, one at the end.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::TelemetryConfig;
use crate::exporter::Bounded;
use crate::log_limiter::LogLimiter;
use crate::logs;
use crate::metrics::Metrics;
use crate::propagation::OpenTelemetry;

/// A batch links to each of its messages.
const MOST_LINKS: u32 = 2_048;

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter can't be parsed.
    #[error("telemetry.log_filter is no filter: {detail}")]
    Filter {
        /// What is wrong with it.
        detail: String,
    },
    /// The exporter refuses its configuration.
    #[error("telemetry.otlp_endpoint = {endpoint:?} can't be used: {detail}")]
    Exporter {
        /// The endpoint as configured.
        endpoint: redaction::Secret,
        /// What the exporter said, without the endpoint.
        detail: String,
    },
    /// No share of anything.
    #[error("telemetry.traces_sample_ratio = {ratio} is not between 0 and 1")]
    Ratio {
        /// The ratio as configured.
        ratio: f64,
    },
    /// Another recorder of metrics is installed.
    #[error("metrics can't be recorded")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// Another subscriber is installed.
    #[error("logs can't be written")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
}

/// The telemetry of a running process.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    log_limiter: Arc<LogLimiter>,
    provider: SdkTracerProvider,
}

impl Telemetry {
    /// What has been recorded.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// What was written too often.
    pub fn log_limiter(&self) -> Arc<LogLimiter> {
        Arc::clone(&self.log_limiter)
    }

    /// Exports what is still queued, at most `timeout`. Blocks: call it from a thread that may.
    pub fn shutdown(self, timeout: Duration) {
        // A collector that is gone must not keep a service from ending.
        let _ = self.provider.shutdown_with_timeout(timeout);
    }
}

/// Sets up logs, traces and metrics of this process. Call it inside the runtime, once.
///
/// # Errors
/// When the configuration can't be used, or it was called before.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let metrics = Metrics::install()?;
    let provider = tracer_provider(service, config)?;
    opentelemetry::global::set_text_map_propagator(
        opentelemetry_sdk::propagation::TraceContextPropagator::new(),
    );
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|error| TelemetryError::Filter { detail: error.to_string() })?;
    let log_limiter = Arc::new(LogLimiter::default());
    let logs = logs::layer(config.log_format, filter, Arc::clone(&log_limiter));
    // Spans reach the traces whatever the log filter says: a quieter log must not cut traces.
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(service))
        .with_filter(tracing_subscriber::filter::LevelFilter::INFO);
    tracing_subscriber::registry().with(logs).with(traces).try_init()?;
    cloudevents::propagation::install(OpenTelemetry { records: record_ratio(config) > 0.0 });
    Ok(Telemetry { metrics, log_limiter, provider })
}

/// The exporter's error without the endpoint, which may have a password.
fn refused(endpoint: &redaction::Secret, error: &opentelemetry_otlp::ExporterBuildError) -> TelemetryError {
    let detail = error.to_string().replace(endpoint.expose(), redaction::REDACTED);
    TelemetryError::Exporter { endpoint: endpoint.clone(), detail }
}

/// The share of the traces that begin here that is recorded. Without an exporter it is nothing: a span is then no more than
/// its context.
fn record_ratio(config: &TelemetryConfig) -> f64 {
    if config.otlp_endpoint.expose().is_empty() { 0.0 } else { config.traces_sample_ratio }
}

fn tracer_provider(
    service: &'static str,
    config: &TelemetryConfig,
) -> Result<SdkTracerProvider, TelemetryError> {
    if !(0.0..=1.0).contains(&config.traces_sample_ratio) {
        return Err(TelemetryError::Ratio { ratio: config.traces_sample_ratio });
    }
    let resource = Resource::builder().with_service_name(service).build();
    let builder = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(record_ratio(config)))))
        .with_max_links_per_span(MOST_LINKS);
    if config.otlp_endpoint.expose().is_empty() {
        return Ok(builder.build());
    }
    let processor = Bounded::new(config, tokio::runtime::Handle::current())
        .map_err(|error| refused(&config.otlp_endpoint, &error))?;
    Ok(builder.with_span_processor(processor).build())
}
