//! Conversations with PostgreSQL, each with a bound: what runs out of time drops its connection (docs/adr/0020).
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod connect;
mod conversation;
mod operation;
mod pool;
mod replication;
mod session;
mod sqlstate;
mod statement;
mod stuck;
mod url;

pub use conversation::{Connection, Transaction};
pub use operation::{Bounds, Operation};
pub use pool::{Database, Status};
pub use replication::{Lsn, Replication, ReplicationError, ReplicationMessage};
pub use session::{MIGRATION_TIMEOUT, SessionError};
pub use sqlstate::{Verdict, is_of_locks, verdict};
pub use statement::Statement;
pub use stuck::StuckSessions;
pub use url::{UrlError, connect_options};
