//! The runtime of every service: configuration, wiring, migrations, health, graceful shutdown.

pub mod config;
mod database;
pub mod health;
pub mod http;
mod metrics;
pub mod runtime;

pub use metrics::METRICS;
pub use runtime::{Definition, Deps, Sampler, Service, Worker, run, run_with};
