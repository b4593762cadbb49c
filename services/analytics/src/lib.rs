//! analytics: counts what happened once, and serves it as JSON.

pub mod adapters;
pub mod config;
pub mod domain;
pub mod handlers;
