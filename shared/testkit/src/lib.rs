//! The embedded stack and the vocabulary of tests: databases, brokers, a registry, a receiver of traces, bounded waiting.

pub mod broker;
pub mod exposition;
pub mod interleave;
pub mod otlp;
pub mod ports;
pub mod postgres;
pub mod registry;
pub mod wait;
