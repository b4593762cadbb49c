//! What travels beside an event on Kafka: the CloudEvents envelope, the trace context, and what both are made with.
//!
//! An [`Envelope`] becomes the headers of a record ([`Envelope::to_headers`]) and comes out of them again
//! ([`Envelope::from_headers`]), in the binary mode of CloudEvents' Kafka protocol binding.

pub mod clock;
pub mod envelope;
pub mod propagation;

pub use envelope::{Cause, CloudEvent, Envelope, EnvelopeError, TraceContext};
pub use propagation::Propagation;
