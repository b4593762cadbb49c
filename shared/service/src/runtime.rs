//! From a definition and a wiring function to a running service.

mod deps;
mod operate;
mod panics;
mod parts;
mod progress;
mod sampling;
mod start;
mod supervise;

pub use deps::Deps;
pub use operate::{longest_stop, run, run_with};
pub use parts::{Service, Worker};
pub use progress::Progress;
pub(crate) use progress::Shown;
pub use sampling::Sampler;

use telemetry::metrics::Metric;

/// What a service is, before any configuration is read.
#[derive(Debug)]
pub struct Definition {
    /// `order`, `inventory`, ...: the name in topics, groups, traces, and of its configuration section.
    pub name: &'static str,
    /// Where it listens unless configured otherwise, such as `127.0.0.1:8080`.
    pub listen: &'static str,
    /// The service's own tables.
    pub migrator: sqlx::migrate::Migrator,
    /// Full names of the events that it publishes.
    pub publishes: &'static [&'static str],
    /// What it measures beyond what every service does.
    pub metrics: &'static [Metric],
}
