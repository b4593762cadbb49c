//! The rows of each service's tables, as they are read.

pub mod analytics;
pub mod inventory;
pub mod notification;
pub mod order;
pub mod payment;
