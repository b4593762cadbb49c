//! The inventory service: who keeps the stock, what is available, and for which order the rest is held.

pub mod adapters;
pub mod application;
pub mod config;
pub mod domain;
