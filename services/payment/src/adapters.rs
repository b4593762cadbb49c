//! The edges: HTTP, SQL, the provider, integration events ⇄ domain.

pub mod backlog_sampler;
pub mod contract;
pub mod http;
pub mod metrics;
pub mod postgres;
pub mod provider;
