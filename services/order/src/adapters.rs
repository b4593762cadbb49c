//! The edges: HTTP, SQL, integration events ⇄ domain.

pub mod announcements;
pub mod consumer;
pub mod contract;
pub mod deadlines;
pub mod http;
pub mod metrics;
pub mod overdue;
pub mod postgres;
pub mod stored;
pub mod watch;
