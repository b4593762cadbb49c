//! The interleaving driver finds what a lost update looks like, and runs exactly the schedules that exist.

use std::collections::BTreeSet;
use std::sync::Mutex;

use sqlx::postgres::{PgConnectOptions, PgPool};
use testkit::interleave::every_interleaving;

async fn database() -> (PgPool, PgConnectOptions) {
    todo!()
}
