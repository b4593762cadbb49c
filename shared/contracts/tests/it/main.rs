//! The contracts as their users meet them.
#![expect(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod codec;
mod envelope;
mod gate;
mod registry;
mod samples;
