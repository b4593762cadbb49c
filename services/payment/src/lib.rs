//! payment: charges an order once its stock is reserved, and gives the money back when the order is cancelled.

pub mod adapters;
pub mod application;
pub mod config;
pub mod domain;
pub mod handlers;
