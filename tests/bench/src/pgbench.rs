//! Runs pgbench, PostgreSQL's own load generator.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tokio::process::Command;

use crate::latencies::Latencies;
use crate::recorded::Script;
use crate::servers::Servers;

/// How long pgbench may take beyond the duration that it is given.
const GRACE: Duration = Duration::from_secs(60);

/// One run.
pub(crate) struct Pgbench<'a> {
    pub(crate) servers: &'a Servers,
    pub(crate) database: &'a str,
    pub(crate) script: &'a Script,
    pub(crate) clients: usize,
    pub(crate) duration: Duration,
    /// Transactions a second; as many as possible if nothing is said.
    pub(crate) rate: Option<f64>,
    /// A number of its own for each run on a database: the ids of a run begin with it.
    pub(crate) run: u32,
}

/// What it came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    /// Of a run with a rate.
    pub(crate) latencies: Latencies,
}

impl Pgbench<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    /// When it fails, or any of its transactions.
    pub(crate) async fn run(&self) -> anyhow::Result<Outcome> {
        let folder = self.servers.files().join(format!("pgbench-{}", self.run));
        fs::create_dir_all(&folder)?;
        let file = folder.join("script.sql");
        fs::write(&file, &self.script.text).with_context(|| format!("writing {}", file.display()))?;
        let url: PgConnectOptions = self.servers.url().parse()?;
        let password = url.to_url_lossy().password().unwrap_or_default().to_owned();
        let mut command = Command::new(self.servers.program("pgbench")?);
        command
            .env("PGPASSWORD", password)
            .args(["--no-vacuum", "--protocol=prepared", "--host=127.0.0.1"])
            .arg(format!("--port={}", url.get_port()))
            .arg(format!("--username={}", url.get_username()))
            .arg(format!("--client={}", self.clients))
            .arg(format!("--jobs={}", self.clients.min(2)))
            .arg(format!("--time={}", self.duration.as_secs().max(1)))
            .arg(format!("--file={}", file.display()))
            .arg(format!("--define=n={}", u64::from(self.run) * 100_000_000));
        for (name, value) in &self.script.variables {
            command.arg(format!("--define={name}={value}"));
        }
        if let Some(rate) = self.rate {
            command.arg(format!("--rate={rate}")).arg("--log");
            command.arg(format!("--log-prefix={}", folder.join("latencies").display()));
        }
        command.arg(self.database).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(self.duration + GRACE, command.output())
            .await
            .context("pgbench did not end in time")?
            .context("running pgbench")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || failures(&text) != Some(0) {
            bail!("pgbench failed: {text}\n{}", String::from_utf8_lossy(&output.stderr));
        }
        let per_second = per_second(&text).with_context(|| format!("pgbench gave no tps:\n{text}"))?;
        Ok(Outcome { per_second, latencies: latencies(&folder)? })
    }
}

/// The number of `tps = 8771.123 (without initial connection time)`.
fn per_second(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("tps = "))?.split(' ').next()?.parse().ok()
}

/// The number of `number of failed transactions: 0 (0.000%)`. Releases before 15 end at the first failure.
fn failures(text: &str) -> Option<u64> {
    match text.lines().find_map(|line| line.strip_prefix("number of failed transactions: ")) {
        Some(rest) => rest.split(' ').next()?.parse().ok(),
        None => Some(0),
    }
}

/// The third column of the logs, one file for each thread: microseconds, from when the transaction was due.
fn latencies(folder: &Path) -> anyhow::Result<Latencies> {
    let mut us = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("latencies") {
            let text = fs::read_to_string(entry.path())?;
            us.extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()));
        }
    }
    Ok(Latencies::new(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "transaction type: x\nnumber of failed transactions: 3 (0.100%)\ntps = 8771.25 (without initial connection time)\n";

    #[test]
    fn throughput_and_failures_are_read_from_what_pgbench_says() {
        assert_eq!((per_second(SAID), failures(SAID)), (Some(8771.25), Some(3)));
        assert_eq!((per_second("no"), failures("tps = 1.0 (x)")), (None, Some(0)));
    }

    #[test]
    fn latencies_are_those_of_all_threads() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("latencies.7"),
            "0 1 900 0 1175850568 995598\n1 1 1100 0 1175850568 998079 7\n",
        )
        .unwrap();
        fs::write(folder.path().join("latencies.7.1"), "0 2 2000 0 1175850569 608\n").unwrap();
        fs::write(folder.path().join("script.sql"), "0 0 9 0 0 0\n").unwrap();
        let found = latencies(folder.path()).unwrap();
        assert_eq!((found.count(), found.p50_ms(), found.ms(1_000)), (3, 1.1, 2.0));
    }
}
