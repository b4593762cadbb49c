//! The test kit against real servers.
#![expect(clippy::unwrap_used, reason = "a test ends where it meets what it does not expect")]

mod interleave;
mod otlp;
mod ports;
mod postgres;
mod registry;
