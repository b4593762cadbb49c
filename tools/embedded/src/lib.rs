//! The embedded stack: what the services need around them, inside a process or beside it, for `tidings up` and for tests.

pub mod broker;
mod guard;
pub mod otlp;
pub mod ports;
pub mod postgres;
pub mod registry;
