//! The edges: HTTP, SQL, templates, SMTP, integration events ⇄ domain.

pub mod backlog_sampler;
pub mod contract;
pub mod http;
pub mod metrics;
pub mod postgres;
pub mod rendering;
pub mod smtp;
