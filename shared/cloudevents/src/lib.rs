//! What travels beside an event on Kafka: the CloudEvents envelope, the trace context, and what both are made with.
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod clock;
pub mod envelope;
mod headers;
pub mod propagation;
mod trace_context;

pub use envelope::{Cause, CloudEvent, Envelope, EnvelopeError};
pub use headers::EnvelopeRef;
pub use propagation::Propagation;
pub use trace_context::TraceContext;
