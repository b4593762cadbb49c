//! pg_recvlogical, PostgreSQL's own reader of a replication slot, which writes what it reads to nothing.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tidings::output;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::servers::Servers;

/// How long it may take.
const TIMEOUT: Duration = Duration::from_secs(300);
const SLOT: &str = "bench";

/// Makes the slot: the log from here on is for it.
///
/// # Errors
/// When the server refuses.
pub(crate) async fn prepare(servers: &Servers) -> anyhow::Result<()> {
    let mut conn = servers.connect("tidings_order").await?;
    sqlx::query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')")
        .bind(SLOT)
        .execute(&mut conn)
        .await?;
    Ok(())
}

/// How many rows a second it reads, which were appended to order's outbox since the slot was made. Drops the slot.
///
/// # Errors
/// When it is missing or fails.
pub(crate) async fn measure(servers: &Servers, rows: u64) -> anyhow::Result<f64> {
    let mut conn = servers.connect("tidings_order").await?;
    let end: String =
        sqlx::query_scalar("SELECT pg_current_wal_flush_lsn()::text").fetch_one(&mut conn).await?;
    let url: PgConnectOptions = servers.url().parse()?;
    let mut command = Command::new(servers.program("pg_recvlogical")?);
    command
        .env("PGPASSWORD", url.to_url_lossy().password().unwrap_or_default())
        .args(["--host=127.0.0.1", "--dbname=tidings_order", "--start", "--file=/dev/null", "--no-loop"])
        .arg(format!("--port={}", url.get_port()))
        .arg(format!("--username={}", url.get_username()))
        .arg(format!("--slot={SLOT}"))
        .arg(format!("--endpos={end}"))
        .args(["--option=proto_version=1", "--option=publication_names=outbox_relay", "--option=binary=true"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let began = Instant::now();
    let ended = timeout(TIMEOUT, command.output()).await.context("pg_recvlogical did not end in time")??;
    if !ended.status.success() {
        bail!("pg_recvlogical failed: {}", String::from_utf8_lossy(&ended.stderr));
    }
    let per_second = rows as f64 / began.elapsed().as_secs_f64();
    sqlx::query("SELECT pg_drop_replication_slot($1)").bind(SLOT).execute(&mut conn).await?;
    output::diagnostic(&format!("pg_recvlogical: {per_second:.0} rows/s"));
    Ok(per_second)
}
