//! The vocabulary of tests: the embedded stack, fresh databases, an interleaving driver, a proxy that
//! falls silent, bounded waiting.

pub mod exposition;
pub mod interleave;
pub mod postgres;
pub mod proxy;
pub mod smtp;
pub mod wait;

pub use embedded::{broker, otlp, ports, registry};
