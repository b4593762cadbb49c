//! analytics: counts what happened once, and serves it as JSON.

#![expect(
    missing_docs,
    reason = "the items of a service are for its own main and tests: what a name says is not repeated"
)]

pub mod adapters;
pub mod config;
pub mod domain;
pub mod handlers;
