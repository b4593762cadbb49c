//! Conversations with a real server: what is left when one falls silent, fails, panics, or is left alone.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where it meets what it does not expect")]

mod conversations;
mod pooler;
mod poolers;
mod replication;
mod silence;
