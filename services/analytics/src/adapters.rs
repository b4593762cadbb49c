//! The edges: published events, PostgreSQL, HTTP, and the rebuild from the topics.

pub mod contract;
pub mod http;
pub mod metrics;
pub mod postgres;
pub mod rebuild;
