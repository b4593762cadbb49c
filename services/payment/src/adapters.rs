//! The edges: tables, the provider's books, integration events, JSON.

pub mod contract;
pub mod http;
pub mod postgres;
pub mod provider;
