//! The runtime as it is used: a service in a process of its own, between a real database, a broker and a registry.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it meets what it does not expect"
)]

mod bodies;
mod body_memory;
mod conventions;
mod disconnects;
mod edge;
mod hosts;
mod lifecycle;
mod openapi;
mod raw;
mod repeated_input;
mod secure;
mod silence;
mod slow_clients;
mod stack;
mod starting;
mod stopping;
mod under_test;
mod workers;
