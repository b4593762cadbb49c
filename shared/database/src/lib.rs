//! Conversations with PostgreSQL. Each has a bound on our side, and a server's time-out below it; when the bound runs out,
//! the connection is dropped and not only the future that waited for it (docs/adr/0020).
//!
//! ```no_run
//! # async fn example(database: database::Database) -> Result<(), sqlx::Error> {
//! use database::Operation;
//!
//! database
//!     .transaction(Operation::Request, |mut tx| async move {
//!         sqlx::query("UPDATE levels SET available = available - 1").execute(&mut *tx).await?;
//!         tx.commit().await
//!     })
//!     .await
//! # }
//! ```
//!
//! A transaction that is not committed by its work is rolled back. Whoever needs a session of its own, such as one that
//! holds an advisory lock, opens it with [`Database::session`].

mod connect;
mod conversation;
mod operation;
mod pool;
mod session;
mod sqlstate;
mod statement;
mod stuck;

pub use conversation::{Connection, Transaction};
pub use operation::{Bounds, Operation};
pub use pool::{Database, Status};
pub use session::{MIGRATION_TIMEOUT, SessionError};
pub use sqlstate::{Verdict, verdict};
pub use statement::Statement;
pub use stuck::StuckSessions;
