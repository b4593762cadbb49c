//! order: takes orders, decides alone how each ends, and tells the world.

pub mod adapters;
pub mod application;
pub mod config;
pub mod domain;
