//! The corruptions of `tidings verify`'s own campaign, generated from the tables and records that there are: what a migration
//! or a schema adds is corrupted without being named here.

pub mod exempt;
pub mod multiply;
pub mod records;
pub mod rows;
pub mod table;
