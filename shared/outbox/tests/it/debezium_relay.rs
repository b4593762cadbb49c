//! Debezium Server as the relay of a stage, with the configuration of `deploy/debezium`.

use std::fs;
use std::time::Duration;

use debezium::{DebeziumServer, LOG, Source};
use outbox::RelayError;
use sqlx::PgPool;
use tempfile::TempDir;
use testkit::postgres::{PostgresOptions, PrivatePostgres, Storage};
use tokio_util::sync::CancellationToken;

/// A Java program starts, and waits ten seconds before it connects again.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(180);
/// The pause between two looks at the process.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What Debezium Server needs beside the table. The name of its slot is unique in a server: each stage has one of its own.
pub(crate) struct DebeziumRelay {
    kafka: String,
    /// Kept between two processes: the second goes on where the first was.
    folder: TempDir,
    server: PrivatePostgres,
}

impl DebeziumRelay {
    pub(crate) async fn create(kafka: String) -> Self {
        debezium::version().await.unwrap();
        let settings = vec![("wal_level".to_owned(), "logical".to_owned())];
        let options = PostgresOptions { settings, ..PostgresOptions::for_tests() };
        let server = PrivatePostgres::start(&Storage::Temporary, &options).await.unwrap();
        Self { kafka, folder: tempfile::tempdir().unwrap(), server }
    }

    /// The server, as a URL.
    pub(crate) fn server(&self) -> String {
        self.server.url("postgres")
    }

    /// Makes publication and slot: what commits from now on is published.
    pub(crate) async fn make_slot(&self, pool: &PgPool, topics: &[&str]) {
        debezium::prepare(&mut pool.acquire().await.unwrap(), &self.kafka, topics).await.unwrap();
    }

    /// A process that reads this database until `shutdown`, or until the future is dropped. Both kill it.
    pub(crate) fn run(
        &self,
        database: &str,
        shutdown: CancellationToken,
    ) -> impl Future<Output = Result<(), RelayError>> + use<> {
        let source = Source { database, bootstrap_servers: &self.kafka };
        let mut process = DebeziumServer::start(self.folder.path(), source).unwrap();
        async move {
            while tokio::time::timeout(LOOK_AGAIN, shutdown.cancelled()).await.is_err() {
                process.check().unwrap();
            }
            process.kill().await.unwrap();
            Ok(())
        }
    }
}

/// The log goes with the folder; a test that fails shows it.
impl Drop for DebeziumRelay {
    fn drop(&mut self) {
        println!("{}", fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default());
    }
}
