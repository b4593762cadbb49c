//! notification: mails customers what became of their orders.

pub mod adapters;
pub mod application;
pub mod config;
pub mod domain;
pub mod handlers;
