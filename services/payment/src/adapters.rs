//! The edges: tables, the provider's books, integration events, JSON.

pub mod contract;
pub mod http;
pub mod metrics;
pub mod postgres;
pub mod provider;
