//! Traces, logs and metrics of every process, and the trace context that rides in outbox rows and headers.

pub mod config;
mod exporter;
mod log_limiter;
mod logs;
pub mod metrics;
mod propagation;
mod setup;
pub mod spans;
pub mod trace;

pub use config::{LogFormat, OtlpProtocol, TelemetryConfig};
pub use log_limiter::LogLimiter;
pub use setup::{Telemetry, TelemetryError, init};
pub use trace::{current_trace, set_parent};
