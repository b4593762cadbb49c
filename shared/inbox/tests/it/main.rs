//! The inbox on a real PostgreSQL: effects once, order kept, nothing dropped silently.

mod effects;
mod ledger;
mod parking;
mod stack;
