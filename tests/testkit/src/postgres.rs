//! Fresh databases cloned from a migrated template, on a private PostgreSQL server.

mod database;
mod tls;

pub use database::TestDatabase;
pub use embedded::postgres::{PostgresError, PostgresOptions, PrivatePostgres, Storage, Version};
pub use tls::{Certificates, postgres_with_tls};

/// The environment variable that names the server which tests use: a URL of a role that may create databases.
pub const TEST_POSTGRES: &str = "TIDINGS_TEST_POSTGRES";
