//! Spans to a collector by OTLP. A collector that is slow or gone costs spans, which are counted, and nothing else.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use tokio::runtime::Handle;

use crate::config::{OtlpProtocol, TelemetryConfig};

/// How long a span waits for others to travel with.
const GATHER: Duration = Duration::from_secs(1);

/// A bounded queue of ended spans before the exporter. What does not fit is dropped and counted.
#[derive(Debug)]
pub(crate) struct Bounded {
    batches: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    capacity: usize,
}

impl Bounded {
    /// Exports to the configured collector; `runtime` drives its connections.
    pub(crate) fn new(config: &TelemetryConfig, runtime: Handle) -> Result<Self, ExporterBuildError> {
        let waiting = Arc::new(AtomicUsize::new(0));
        let exporter = InRuntime::new(config, runtime, Arc::clone(&waiting))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(config.otlp_max_queue_size)
            .with_scheduled_delay(GATHER);
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
        Ok(Self { batches, waiting, capacity: config.otlp_max_queue_size })
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.capacity {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            metrics::counter!("telemetry_spans_dropped_total", "reason" => "queue_full").increment(1);
            return;
        }
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// The batch processor polls its exporter on a thread without a runtime, where the client has no reactor.
#[derive(Debug)]
struct InRuntime {
    inner: OtlpExporter,
    runtime: Handle,
    waiting: Arc<AtomicUsize>,
}

impl InRuntime {
    fn new(
        config: &TelemetryConfig,
        runtime: Handle,
        waiting: Arc<AtomicUsize>,
    ) -> Result<Self, ExporterBuildError> {
        let timeout = Duration::from_millis(config.otlp_timeout_ms);
        let endpoint = config.otlp_endpoint.expose().trim_end_matches('/');
        let builder = OtlpExporter::builder();
        let inner = match config.otlp_protocol {
            OtlpProtocol::Http => {
                let endpoint = format!("{endpoint}/v1/traces");
                let client = contracts::http::client().timeout(timeout).build();
                let client =
                    client.map_err(|error| ExporterBuildError::InternalFailure(error.to_string()))?;
                let builder = builder.with_http().with_http_client(client);
                builder.with_endpoint(endpoint).with_timeout(timeout).build()?
            }
            OtlpProtocol::Grpc => {
                // The client starts its connection's task when it is made.
                let _inside = runtime.enter();
                builder.with_tonic().with_endpoint(endpoint).with_timeout(timeout).build()?
            }
        };
        Ok(Self { inner, runtime, waiting })
    }
}

impl SpanExporter for InRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        // The future is made inside the runtime too: a client may start timers when it is called.
        let mut exporting = pin!(async { self.inner.export(batch).await });
        let outcome = poll_fn(|context| {
            let _inside = self.runtime.enter();
            exporting.as_mut().poll(context)
        })
        .await;
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        match &outcome {
            Ok(()) => metrics::counter!("telemetry_spans_exported_total").increment(spans as u64),
            Err(_) => metrics::counter!("telemetry_spans_dropped_total", "reason" => "export_failed")
                .increment(spans as u64),
        }
        outcome
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
