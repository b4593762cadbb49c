//! Inventory against a real PostgreSQL.

mod arrivals;
mod batches;
mod replenishments;
mod support;
