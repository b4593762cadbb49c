//! Payment: charges an order once its stock is held, and gives the money back whenever the order is cancelled.

pub mod adapters;
pub mod application;
pub mod config;
pub mod domain;
