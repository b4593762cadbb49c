//! Watermill's forwarder publishing messages of a table of its own, by polling.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use tidings::output;
use tidings::up::databases::database_url;
use tokio::process::Command;
use tokio::time::timeout;

use crate::servers::Servers;

/// What `tests/bench/watermill/build` builds.
const PROGRAM: &str = "target/watermill/forwarder";
/// How long it may take: it gives up by itself when it publishes nothing.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What it came to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Watermill {
    pub(crate) version: String,
    pub(crate) per_second: f64,
    /// Microseconds of its CPU time for a message.
    pub(crate) cpu_us: f64,
    pub(crate) rss_mb: f64,
}

/// Publishes so many messages, two of each key, which it inserts before. Nothing where the program is missing: says what to do.
///
/// # Errors
/// When it does not publish them.
pub(crate) async fn measure(servers: &Servers, topic: &str, rows: u64) -> anyhow::Result<Option<Watermill>> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PROGRAM);
    if !program.is_file() {
        output::diagnostic(
            "relay: measured without Watermill: tests/bench/watermill/build builds it (needs Go)",
        );
        return Ok(None);
    }
    let mut server = servers.connect("postgres").await?;
    sqlx::query("CREATE DATABASE bench_watermill").execute(&mut server).await?;
    let kafka = &servers.kafka.addresses.bootstrap_servers;
    debezium::topic::create(kafka, topic, contracts::topics::PARTITIONS).await?;
    let running = Command::new(program)
        .env("DATABASE_URL", format!("{}?sslmode=disable", database_url(&servers.url(), "bench_watermill")))
        .args(["-kafka", kafka, "-topic", topic, "-rows", &rows.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = timeout(TIMEOUT, running).await.context("Watermill's forwarder does not end")??;
    let errors = String::from_utf8_lossy(&ended.stderr);
    anyhow::ensure!(ended.status.success(), "Watermill's forwarder failed: {errors}");
    let measured: Watermill = serde_json::from_slice(&ended.stdout).context("what the forwarder says")?;
    output::diagnostic(&format!("Watermill {}: {:.0} rows/s", measured.version, measured.per_second));
    Ok(Some(measured))
}
