//! What travels beside an event on Kafka: the CloudEvents envelope, the trace context, and what both are made with.
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod clock;
pub mod envelope;
pub mod propagation;

pub use envelope::{Cause, CloudEvent, Envelope, EnvelopeError, EnvelopeRef, TraceContext};
pub use propagation::Propagation;
