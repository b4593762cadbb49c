//! The use cases, what a fact or a command sets in motion.

pub mod fulfilment;
pub mod replenish_stock;
