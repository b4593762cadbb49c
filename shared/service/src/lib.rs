//! The runtime of every service: configuration, wiring, migrations, health, graceful shutdown.

pub mod config;
mod database;
pub mod health;
pub mod http;
pub mod runtime;

pub use runtime::{Definition, Deps, Service, Worker, run, run_with};
