//! Spans to a collector by OTLP/HTTP, from the processor's own thread through the service's runtime.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Handle;

use crate::config::TelemetryConfig;

/// The batch processor polls its exporter on a thread without a runtime, where the HTTP client has no reactor.
#[derive(Debug)]
pub(crate) struct InRuntime {
    inner: OtlpExporter,
    runtime: Handle,
}

impl InRuntime {
    /// An exporter to the configured collector; `runtime` drives its connections.
    pub(crate) fn new(config: &TelemetryConfig, runtime: Handle) -> Result<Self, ExporterBuildError> {
        let endpoint = format!("{}/v1/traces", config.otlp_endpoint.trim_end_matches('/'));
        let inner = OtlpExporter::builder()
            .with_http()
            .with_endpoint(endpoint)
            .with_timeout(Duration::from_millis(config.otlp_timeout_ms))
            .build()?;
        Ok(Self { inner, runtime })
    }
}

impl SpanExporter for InRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        // The future is made inside the runtime too: a client may start timers when it is called.
        let mut exporting = pin!(async { self.inner.export(batch).await });
        poll_fn(|context| {
            let _inside = self.runtime.enter();
            exporting.as_mut().poll(context)
        })
        .await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
