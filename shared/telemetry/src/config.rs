//! What a deployment chooses about telemetry: the section `[telemetry]`.

use redaction::Secret;
use serde::{Deserialize, Serialize};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people at a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How spans travel to the collector (OTLP 1.x).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtlpProtocol {
    /// Protobuf over HTTP/1.1; a collector listens on port 4318.
    #[default]
    Http,
    /// gRPC; a collector listens on port 4317.
    Grpc,
}

/// Logs and traces. The trace context always reaches the headers of records; spans are exported only when `otlp_endpoint` is
/// set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Filter of log lines, in the syntax of `tracing-subscriber`, such as `info,sqlx=warn`.
    pub log_filter: String,
    /// Format of log lines.
    pub log_format: LogFormat,
    /// URL of the collector, such as `http://127.0.0.1:4318`. If empty, nothing is recorded or exported.
    pub otlp_endpoint: Secret,
    /// Protocol of the collector: protobuf over HTTP (port 4318) or gRPC (port 4317).
    pub otlp_protocol: OtlpProtocol,
    /// Time limit of an export.
    pub otlp_timeout_ms: u64,
    /// Maximum number of spans that wait for export; further ones are dropped and counted.
    pub otlp_max_queue_size: usize,
    /// Share of traces that are recorded, from 0 to 1. The service that starts a trace decides for all; a request with a
    /// trace context has decided already.
    pub traces_sample_ratio: f64,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_filter: "info,sqlx=warn,librdkafka=error".to_owned(),
            log_format: LogFormat::Text,
            otlp_endpoint: Secret::default(),
            otlp_protocol: OtlpProtocol::Http,
            otlp_timeout_ms: 5_000,
            otlp_max_queue_size: 8_192,
            traces_sample_ratio: 1.0,
        }
    }
}
