//! The embedded stack and the vocabulary of tests: databases, brokers, a registry, bounded waiting.

pub mod broker;
pub mod interleave;
pub mod postgres;
pub mod registry;
pub mod wait;
