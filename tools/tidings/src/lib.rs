//! What the command does, as a library: the system tests use the same pieces.

// `println!` panics when its reader has gone away: see `output`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod addresses;
pub mod cli;
pub mod client;
pub mod demo;
pub mod follow;
pub mod import;
pub mod load;
pub mod output;
pub mod state;
pub mod text;
pub mod trace;
pub mod up;
pub mod verify;
mod watermarks;

pub use service_list as services;
