//! The analytics service: what happened, counted once and served as JSON.

pub mod adapters;
pub mod application;
pub mod config;
pub mod domain;
