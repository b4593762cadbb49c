//! The five binaries together: on the embedded stack, and on real Kafka where the environment names one.
#![expect(clippy::expect_used, clippy::panic, reason = "tests, whose helpers clippy does not take for tests")]

mod beside;
mod collector;
mod corruption;
mod ends;
mod jaeger;
mod kills;
mod locks;
mod markers;
mod metrics;
mod requests;
mod traces;
mod up;
mod upgrade;
