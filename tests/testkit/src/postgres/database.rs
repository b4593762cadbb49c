//! A fresh database for each test, cloned from a template that is migrated once a server.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use database::{Bounds, Database};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tokio::sync::OnceCell;

use super::{PostgresOptions, PrivatePostgres, Storage, TEST_POSTGRES};
use crate::wait::eventually;

/// What a killed test run left behind is dropped by a later one after this time.
const STALE_S: u64 = 2 * 60 * 60;

/// Drawing from a template, or migrating one, takes milliseconds; beyond this the server is in trouble.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A fresh, migrated database. Dropping the value drops the database.
#[derive(Debug)]
pub struct TestDatabase {
    pool: PgPool,
    database: Database,
    url: String,
    name: String,
    server: String,
}

impl TestDatabase {
    /// A database of its own on the run's server (`TIDINGS_TEST_POSTGRES`, or a private one for this process), with
    /// what `migrate` leaves in it. `migrate` runs once per `name`, test binary and server; the other databases of
    /// that name are clones.
    ///
    /// # Panics
    /// When there is no server, or migrating fails: without a database there is no test.
    #[expect(clippy::panic, reason = "a test's set-up")]
    pub async fn create(name: &str, migrate: impl AsyncFnOnce(&PgPool) -> anyhow::Result<()>) -> Self {
        match Self::try_create(name, migrate).await {
            Ok(database) => database,
            Err(error) => panic!("no test database {name}: {error:#}"),
        }
    }

    /// As [`TestDatabase::create`].
    ///
    /// # Errors
    /// When there is no server, or migrating fails.
    pub async fn try_create(
        name: &str,
        migrate: impl AsyncFnOnce(&PgPool) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let server = server_url().await?;
        Self::create_on(&server, name, migrate).await
    }

    /// As [`TestDatabase::try_create`], on the server at this URL.
    ///
    /// # Errors
    /// When the server can't be reached, or migrating fails.
    pub async fn create_on(
        server: &str,
        name: &str,
        migrate: impl AsyncFnOnce(&PgPool) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let template = template(server, name, migrate).await?;
        let database = format!("tidings_test_{}_{}", unix_time_s(), unique());
        let mut admin = connect(server).await?;
        // Nothing here comes from outside: digits, lower-case letters and underscores.
        let statement = format!("create database {database} template {template}");
        let created = tokio::time::timeout(WAIT_TIMEOUT, admin.execute(AssertSqlSafe(statement))).await;
        created.context("cloning the template took too long")?.context("cloning the template")?;
        admin.close().await?;

        let options = server.parse::<PgConnectOptions>()?.database(&database);
        let pool = pool(options.clone());
        let url = with_database(server, &database);
        let name = database;
        let database = Database::new(options, 10, Bounds::default());
        Ok(Self { pool, database, url, name, server: server.to_owned() })
    }

    /// What production code is given: connections of its own, up to 10.
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// Connections for what a test does itself, up to 10.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Further connections to the same database, as a second process would have.
    pub fn another(&self) -> Database {
        self.database.another(10)
    }

    /// Waits until a session in it waits for a lock.
    ///
    /// # Panics
    /// When none does in time.
    pub async fn until_somebody_waits(&self) {
        eventually("a session waits for a lock", WAIT_TIMEOUT, async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'",
            )
            .fetch_one(&self.pool)
            .await?;
            if waiting > 0 { Ok(()) } else { Err(anyhow::anyhow!("none does")) }
        })
        .await;
    }

    /// Where it is, with the password: what a process under test is given.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let statement = format!("drop database if exists {} with (force)", self.name);
        let (server, name) = (std::mem::take(&mut self.server), self.name.clone());
        // A thread of its own, because a runtime can't block on a future; a failure leaves a database that a later run
        // finds stale.
        let dropping = std::thread::spawn(move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut admin = connect(&server).await?;
                // A database whose slot is read can't be dropped; the slot goes with it otherwise.
                sqlx::query(
                    "select pg_terminate_backend(active_pid, 10000) from pg_replication_slots
                     where database = $1 and active_pid is not null",
                )
                .bind(&name)
                .execute(&mut admin)
                .await?;
                tokio::time::timeout(WAIT_TIMEOUT, admin.execute(AssertSqlSafe(statement))).await??;
                Ok(())
            })
        });
        let _ = dropping.join();
    }
}

/// The URL of the run's server.
async fn server_url() -> anyhow::Result<String> {
    static PRIVATE: OnceCell<PrivatePostgres> = OnceCell::const_new();
    #[expect(clippy::disallowed_methods, reason = "the test run names its server in the environment")]
    if let Ok(url) = std::env::var(TEST_POSTGRES) {
        return Ok(url);
    }
    // A static is never dropped: the server's supervisor sees this process end.
    let server = PRIVATE
        .get_or_try_init(|| async {
            PrivatePostgres::start(&Storage::Temporary, &PostgresOptions::for_tests()).await
        })
        .await?;
    Ok(server.url("postgres"))
}

/// The name of the migrated template, created unless it is there. A test binary has templates of its own, so that
/// changed migrations never meet an old template.
async fn template(
    server: &str,
    name: &str,
    migrate: impl AsyncFnOnce(&PgPool) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let key = template_key(name)?;
    let mut admin = connect(server).await?;
    sqlx::query("select set_config('lock_timeout', '60s', false)").execute(&mut admin).await?;
    // Parallel test binaries and tests wait here for the one that migrates. The lock goes with the connection.
    let lock = i64::from_ne_bytes(key.to_ne_bytes());
    sqlx::query("select pg_advisory_lock($1)").bind(lock).execute(&mut admin).await?;
    let existing: Vec<String> =
        sqlx::query_scalar("select datname::text from pg_database where datname like 'tidings\\_t%'")
            .fetch_all(&mut admin)
            .await?;
    let suffix = format!("_{key:016x}");
    if let Some(template) = existing.iter().find(|other| is_template(other) && other.ends_with(&suffix)) {
        return Ok(template.clone());
    }
    drop_stale(&mut admin, &existing).await?;

    let template = format!("tidings_template_{}{suffix}", unix_time_s());
    let unfinished = format!("tidings_test_{}_{}", unix_time_s(), unique());
    admin.execute(AssertSqlSafe(format!("create database {unfinished} template template0"))).await?;
    let pool = pool(server.parse::<PgConnectOptions>()?.database(&unfinished));
    let migrated = migrate(&pool).await.with_context(|| format!("migrating the template of {name}"));
    pool.close().await;
    if let Err(error) = migrated {
        admin.execute(AssertSqlSafe(format!("drop database {unfinished} with (force)"))).await?;
        return Err(error);
    }
    // Only a complete template ever bears a template's name.
    admin.execute(AssertSqlSafe(format!("alter database {unfinished} rename to {template}"))).await?;
    Ok(template)
}

fn is_template(database: &str) -> bool {
    database.starts_with("tidings_template_")
}

/// Drops what runs that were killed have left on a server that outlives them.
async fn drop_stale(admin: &mut PgConnection, existing: &[String]) -> anyhow::Result<()> {
    let now_s = unix_time_s();
    for database in existing {
        let created_s: Option<u64> = database.split('_').nth(2).and_then(|text| text.parse().ok());
        if created_s.is_some_and(|created_s| created_s + STALE_S < now_s) {
            admin
                .execute(AssertSqlSafe(format!("drop database if exists \"{database}\" with (force)")))
                .await?;
        }
    }
    Ok(())
}

/// Names what `migrate` does, as far as that can be known: by the test binary that contains it.
fn template_key(name: &str) -> anyhow::Result<u64> {
    let binary = std::env::current_exe()?;
    let modified = binary.metadata()?.modified()?;
    let mut hasher = DefaultHasher::new();
    (name, binary, modified).hash(&mut hasher);
    Ok(hasher.finish())
}

fn pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(10)
        .acquire_timeout(Duration::from_secs(30))
        .connect_lazy_with(options)
}

async fn connect(server: &str) -> anyhow::Result<PgConnection> {
    let connecting = tokio::time::timeout(WAIT_TIMEOUT, PgConnection::connect(server)).await;
    connecting.context("connecting took too long")?.context("connecting to the test server")
}

/// The same URL with another database; parameters behind a `?` stay.
fn with_database(server: &str, database: &str) -> String {
    let (base, parameters) = match server.split_once('?') {
        Some((base, parameters)) => (base, format!("?{parameters}")),
        None => (server, String::new()),
    };
    let authority_at = base.find("://").map_or(0, |at| at + 3);
    let authority_ends = base[authority_at..].find('/').map_or(base.len(), |at| authority_at + at);
    format!("{}/{database}{parameters}", &base[..authority_ends])
}

fn unix_time_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn unique() -> String {
    contracts::clock::new_id().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn a_url_is_given_another_database() {
        for (server, expected) in [
            ("postgres://u:p@127.0.0.1:5432/postgres", "postgres://u:p@127.0.0.1:5432/x"),
            ("postgres://127.0.0.1", "postgres://127.0.0.1/x"),
            ("postgres://h/a?sslmode=disable", "postgres://h/x?sslmode=disable"),
        ] {
            assert_eq!(with_database(server, "x"), expected);
        }
    }
}
