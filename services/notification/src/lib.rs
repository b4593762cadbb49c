//! notification: mails customers what became of their orders.

#![expect(
    missing_docs,
    reason = "the items of a service are for its own main and tests: what a name says is not repeated"
)]

pub mod adapters;
pub mod application;
pub mod config;
pub mod domain;
pub mod handlers;
