//! order: accepts orders, alone decides how each ends, and publishes the end.

pub mod adapters;
pub mod application;
pub mod config;
pub mod domain;
pub mod handlers;
