//! The databases on one server, one per service: created where missing, refused where an embedded broker would contradict them.

use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

/// How long the server may take for what is asked of all its databases.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The SQLSTATE of a server, a role or a database that has as many connections as it may have.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// The URL of one database of the server at `base`; parameters behind a `?` stay.
pub fn database_url(base: &str, database: &str) -> String {
    let (address, parameters) = base.split_once('?').map_or((base, ""), |(address, rest)| (address, rest));
    let (scheme, rest) = address.split_once("://").unwrap_or(("postgres", address));
    let authority = rest.split('/').next().unwrap_or(rest);
    let parameters = if parameters.is_empty() { String::new() } else { format!("?{parameters}") };
    format!("{scheme}://{authority}/{database}{parameters}")
}

/// A URL as it may be printed: without its parameters too, which can hold a password.
pub fn without_password(url: &str) -> String {
    let shown = redaction::url(url).replace(&format!(":{}@", redaction::REDACTED), "@");
    shown.split('?').next().unwrap_or_default().to_owned()
}

/// Refuses the URL of a server that can't be parsed, before a part of its password is taken for a host or a database.
///
/// # Errors
/// When it is no PostgreSQL URL. It is not shown.
pub fn check(base: &str) -> anyhow::Result<()> {
    database::connect_options(base).map(drop).context("--postgres is no PostgreSQL URL")
}

async fn bounded<T>(base: &str, asking: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let silence = || format!("{} did not answer within {} s", without_password(base), TIMEOUT.as_secs());
    tokio::time::timeout(TIMEOUT, asking).await.with_context(silence)?
}

async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let options = database::connect_options(url)
        .with_context(|| format!("{} is no PostgreSQL URL", without_password(url)))?;
    options.connect().await.map_err(|error| {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let is_full = code.as_deref() == Some(TOO_MANY_CONNECTIONS);
        let full = "it takes no more connections: close some, or raise max_connections (or the role's or the database's CONNECTION LIMIT)";
        let error = anyhow::Error::new(error);
        let error = if is_full { error.context(full) } else { error };
        error.context(format!("connecting to {}", without_password(url)))
    })
}

/// Asks the server itself.
///
/// # Errors
/// When it can't be reached or refuses.
pub(super) async fn ask<T>(
    base: &str,
    question: impl AsyncFnOnce(&mut PgConnection) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let asking = async {
        let mut server = connect(&database_url(base, "postgres")).await?;
        let answer = question(&mut server).await?;
        server.close().await?;
        Ok(answer)
    };
    bounded(base, asking).await
}

/// Creates those of `databases` that are missing.
///
/// # Errors
/// When the server can't be reached or refuses.
pub(super) async fn create_missing(base: &str, databases: &[String]) -> anyhow::Result<()> {
    ask(base, async |server| create(server, databases).await).await
}

async fn create(server: &mut PgConnection, databases: &[String]) -> anyhow::Result<()> {
    let existing: Vec<String> =
        sqlx::query_scalar("SELECT datname::text FROM pg_database").fetch_all(&mut *server).await?;
    for database in databases.iter().filter(|database| !existing.contains(database)) {
        // A database's name can't be a parameter; the server quotes it.
        let create: String = sqlx::query_scalar("SELECT format('CREATE DATABASE %I', $1::text)")
            .bind(database)
            .fetch_one(&mut *server)
            .await?;
        server
            .execute(AssertSqlSafe(create))
            .await
            .with_context(|| format!("creating the database {database}"))?;
    }
    Ok(())
}

/// Refuses databases that remember what an embedded broker and registry have forgotten.
///
/// # Errors
/// When one of them holds orders, or positions in topics.
pub(super) async fn refuse_used(base: &str, databases: &[String]) -> anyhow::Result<()> {
    bounded(base, look(base, databases)).await
}

async fn look(base: &str, databases: &[String]) -> anyhow::Result<()> {
    for name in databases {
        let mut database = connect(&database_url(base, name)).await?;
        let has_tables: bool = sqlx::query_scalar(
            "SELECT to_regclass('outbox.messages') IS NOT NULL AND to_regclass('inbox.consumer_positions') IS NOT NULL",
        )
        .fetch_one(&mut database)
        .await?;
        let is_used = has_tables
            && sqlx::query_scalar::<_, bool>(
                "SELECT EXISTS (SELECT FROM outbox.messages)
                     OR EXISTS (SELECT FROM inbox.consumer_positions WHERE next_offset > 0)",
            )
            .fetch_one(&mut database)
            .await?;
        database.close().await?;
        if is_used {
            bail!(
                "{name} at {} holds orders already, whose events the embedded broker and registry have forgotten; \
                 give --kafka and --registry that have them, or databases that are empty",
                without_password(base)
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_takes_the_place_of_another_in_the_servers_url() {
        for (base, expected) in [
            ("postgres://me:pw@127.0.0.1:5432", "postgres://me:pw@127.0.0.1:5432/tidings_order"),
            ("postgres://127.0.0.1/postgres", "postgres://127.0.0.1/tidings_order"),
            ("postgresql://h/x?sslmode=require", "postgresql://h/tidings_order?sslmode=require"),
        ] {
            assert_eq!(database_url(base, "tidings_order"), expected);
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        assert_eq!(without_password("postgres://me:p@ss@127.0.0.1:1/x"), "postgres://me@127.0.0.1:1/x");
        assert_eq!(without_password("postgres://127.0.0.1/x"), "postgres://127.0.0.1/x");
        assert_eq!(without_password("postgres://me@h/x?password=p@ss&sslmode=require"), "postgres://me@h/x");
    }
}
