//! The edges: published events, PostgreSQL, HTTP.

pub mod contract;
pub mod http;
pub mod metrics;
pub mod postgres;
