//! The edges: tables, templates, SMTP, JSON.

pub mod http;
pub mod metrics;
pub mod postgres;
pub mod rendering;
pub mod smtp;
