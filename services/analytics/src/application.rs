//! The use cases: what a fact adds to the read models.

pub mod counting;
