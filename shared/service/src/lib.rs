//! The runtime of every service: configuration, wiring, migrations, health, graceful shutdown.

mod check_health;
pub mod config;
pub mod corrupt_rows;
mod database;
pub mod group_commit;
pub mod health;
pub mod http;
pub mod leases;
mod metrics;
mod migrations;
mod places;
pub mod runtime;

pub use metrics::METRICS;
pub use places::{Place, Places};
pub use runtime::{Definition, Deps, Progress, Sampler, Service, Worker, longest_stop, run, run_with};
