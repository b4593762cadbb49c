//! The edges: HTTP, SQL, integration events ⇄ domain.

pub mod contract;
pub mod deadline_sampler;
pub mod deadline_worker;
pub mod http;
pub mod metrics;
pub mod postgres;
pub mod stored;
pub mod watch;
