//! The command as a process.
#![expect(clippy::unwrap_used, reason = "a test ends where it meets what it does not expect")]

mod pipes;
mod secrets;
