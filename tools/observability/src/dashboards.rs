//! Grafana's dashboards: the system on one page, and one page a service.

mod model;
mod service;
mod system;

pub use model::{Dashboard, Panel, Query, Row};

use crate::catalogue::SERVICES;

/// Every dashboard.
pub fn all() -> Vec<Dashboard> {
    let services = SERVICES.into_iter().map(service::dashboard);
    std::iter::once(system::dashboard()).chain(services).collect()
}
