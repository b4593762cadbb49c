//! The command as a process.

mod pipes;
mod secrets;
