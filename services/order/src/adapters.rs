//! The edges: HTTP, SQL, integration events ⇄ domain.

pub mod contract;
