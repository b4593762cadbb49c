//! The service's database: connections with bounds, migrations, and what must hold before anything is promised.

use database::{Database, SessionError, UrlError, Verdict, connect_options};
use sqlx::Connection;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;

use crate::Definition;
use crate::config::{Common, DatabaseConfig};
use crate::migrations;

/// The advisory lock under which a service's replicas migrate, one after the other: `tidings` in ASCII.
const MIGRATION_LOCK: i64 = 0x0074_6964_696e_6773;

/// Why the database can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// The URL can't be parsed. It is not shown: it may contain a password.
    #[error("database.url is no PostgreSQL URL")]
    Url(#[source] UrlError),
    /// It can't be reached, or refuses us.
    #[error("connecting to database {database} on {host}:{port}")]
    Connect {
        /// Its name.
        database: String,
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// The database's answer.
        #[source]
        source: sqlx::Error,
    },
    /// Migrations failed.
    #[error("migrating {part} in database {database}")]
    Migrate {
        /// The database.
        database: String,
        /// Whose tables: `outbox`, `inbox`, or the service's own.
        part: &'static str,
        /// The database's answer.
        #[source]
        source: MigrateError,
    },
    /// Migrations are a step of their own here, and that step was not taken.
    #[error(
        "database {database} lacks the migrations {missing} of {part}; they are applied by `{service} --migrate`, or at \
         the start with database.migrate = true"
    )]
    Behind {
        /// The database.
        database: String,
        /// Whose tables: `outbox`, `inbox`, or the service's own.
        part: &'static str,
        /// The versions.
        missing: String,
        /// The service.
        service: &'static str,
    },
    /// Commits would not be durable.
    #[error(
        "database {database} has synchronous_commit = {found}: a crash, or a failover, could take back what was promised; set \
         it to on (or to remote_apply with a synchronous replica)"
    )]
    NotDurable {
        /// The database.
        database: String,
        /// The setting.
        found: String,
    },
    /// Sessions are not ours alone.
    #[error("database {database} can't be used")]
    Pooler {
        /// The database.
        database: String,
        /// What was seen.
        #[source]
        source: SessionError,
    },
}

impl DatabaseError {
    /// Whether waiting may help: the database isn't there yet.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } => is_transient(source),
            Self::Migrate {
                source: MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _),
                ..
            } => is_transient(source),
            Self::Behind { .. } => true,
            Self::Url(_) | Self::Migrate { .. } | Self::NotDurable { .. } | Self::Pooler { .. } => false,
        }
    }
}

/// Whether waiting helps. A way that can't be secured stays so.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    database::verdict(error) == Verdict::Transient && !matches!(error, sqlx::Error::Tls(_))
}

/// Where the database is.
pub(crate) fn options(name: &str, config: &DatabaseConfig) -> Result<PgConnectOptions, DatabaseError> {
    let options = connect_options(config.url.expose()).map_err(DatabaseError::Url)?;
    Ok(options.application_name(&format!("tidings-{name}")))
}

/// Connects, migrates unless that is another step's work, checks schema, durability and sessions; then it is ready for use.
pub(crate) async fn open(definition: &Definition, config: &Common) -> Result<Database, DatabaseError> {
    let bounds = config.database_bounds();
    let config = &config.database;
    let options = options(definition.name, config)?;
    let name = options.get_database().unwrap_or(definition.name).to_owned();
    let (host, port) = (options.get_host().to_owned(), options.get_port());
    let connect =
        |source| DatabaseError::Connect { database: name.clone(), host: host.clone(), port, source };
    let database = Database::new(options, config.max_connections, bounds);
    let mut guard = database.migration_session().await.map_err(connect)?;
    let durability: String =
        sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&mut guard).await.map_err(connect)?;
    // `local` does not wait for a synchronous replica.
    if ["off", "local"].contains(&durability.as_str()) {
        return Err(DatabaseError::NotDurable { database: name, found: durability });
    }
    database.check_sessions().await.map_err(|error| match error {
        SessionError::Database(source) => connect(source),
        pooler @ SessionError::Pooler { .. } => {
            DatabaseError::Pooler { database: name.clone(), source: pooler }
        }
    })?;
    if config.migrate {
        // Replicas that start at once wait here for each other; the lock ends with its connection.
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut guard)
            .await
            .map_err(connect)?;
    }
    let looked_at = migrations::all(definition, &mut guard, config.migrate).await;
    let _ = guard.close().await;
    looked_at.map_err(|(part, problem)| match problem {
        migrations::Problem::Failed(source) => {
            DatabaseError::Migrate { database: name.clone(), part, source }
        }
        migrations::Problem::Missing(missing) => {
            DatabaseError::Behind { database: name.clone(), part, missing, service: definition.name }
        }
    })?;
    Ok(database)
}
