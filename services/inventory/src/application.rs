//! The use cases that no event starts.

pub mod replenish_stock;
