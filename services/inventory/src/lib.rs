//! inventory: keeps the stock, and reserves it for orders.

pub mod adapters;
pub mod application;
pub mod config;
pub mod domain;
pub mod handlers;
