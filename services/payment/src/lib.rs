//! payment: charges an order once its stock is reserved, and gives the money back when the order is cancelled.

#![expect(
    missing_docs,
    reason = "the items of a service are for its own main and tests: what a name says is not repeated"
)]

pub mod adapters;
pub mod application;
pub mod config;
pub mod domain;
pub mod handlers;
