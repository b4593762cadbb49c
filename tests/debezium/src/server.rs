//! The process, and what it needs in the database.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection};
use tokio::process::{Child, Command};

use crate::topic;

/// The configuration that teams are given. What differs between deployments is appended to it.
pub const CONFIGURATION: &str = include_str!("../../../deploy/debezium/application.properties");
const PUBLICATION: &str = include_str!("../../../deploy/debezium/publication.sql");
/// What it writes, in its folder.
pub const LOG: &str = "debezium.log";
/// The topic that `publication.sql` names.
const PUBLISHED_TOPIC: &str = "'tidings.orders'";
/// Where heartbeats go: the prefix and the name that the configuration gives.
const HEARTBEATS: &str = "__debezium-heartbeat.order";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../components/debezium.sh");

/// Where Debezium Server reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The database, with a role that may replicate.
    pub database: &'a str,
    /// Kafka, `host:port`.
    pub bootstrap_servers: &'a str,
}

/// A running Debezium Server. It ends with this value.
#[derive(Debug)]
pub struct DebeziumServer {
    child: Child,
    log: PathBuf,
}

/// The version that is there.
///
/// # Errors
/// When there is none: says what to do.
pub async fn version() -> anyhow::Result<String> {
    let output = Command::new(SCRIPT).arg("version").output().await.context("running debezium.sh")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Creates the topic of heartbeats, and publication and slot as `publication.sql` does, for these topics. What commits
/// afterwards is published.
///
/// # Errors
/// When the database or the broker refuses: the server needs `wal_level = logical`.
pub async fn prepare(
    conn: &mut PgConnection,
    bootstrap_servers: &str,
    topics: &[&str],
) -> anyhow::Result<()> {
    // Before anything else: without it, Debezium Server ends at its first heartbeat.
    topic::create(bootstrap_servers, HEARTBEATS, 1).await?;
    ensure!(PUBLICATION.matches(PUBLISHED_TOPIC).count() == 1, "publication.sql names another topic");
    let topics = topics.iter().map(|topic| format!("'{topic}'")).collect::<Vec<_>>().join(", ");
    ensure!(!topics.contains("''"), "a topic with a quote or without a name");
    // A slot can't be created in a transaction that has written, as one text of several statements is.
    let script = PUBLICATION.replace(PUBLISHED_TOPIC, &topics);
    for statement in script.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        conn.execute(AssertSqlSafe(statement.to_owned())).await.context("executing publication.sql")?;
    }
    Ok(())
}

impl DebeziumServer {
    /// Starts it with its files in `folder`: a second one with the same folder goes on where the first stopped.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(folder: &Path, source: Source<'_>) -> anyhow::Result<Self> {
        let config = folder.join("config");
        fs::create_dir_all(&config).with_context(|| format!("creating {}", config.display()))?;
        let properties = format!("{CONFIGURATION}\n{}", source.connection()?);
        fs::write(config.join("application.properties"), properties)?;
        let log = folder.join(LOG);
        let file = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(SCRIPT)
            .arg("run")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context("starting debezium.sh")?;
        Ok(Self { child, log })
    }

    /// The number of the process; none once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Fails with the end of its log if it has ended.
    ///
    /// # Errors
    /// When it has.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("Debezium Server ended with {status}:\n{}", self.end_of_log()),
        }
    }

    /// The last lines that it wrote.
    pub fn end_of_log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Ends it at once, as a crash of its machine does.
    ///
    /// # Errors
    /// When it can't be ended.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("killing Debezium Server")
    }
}

impl Source<'_> {
    /// The settings that `deploy/debezium/README.md` asks for.
    fn connection(&self) -> anyhow::Result<String> {
        let options: PgConnectOptions = self.database.parse().context("the URL of the database")?;
        let url = options.to_url_lossy();
        let (source, sink) = ("debezium.source.database", "debezium.sink.kafka.producer");
        Ok([
            format!("{source}.hostname={}", options.get_host()),
            format!("{source}.port={}", options.get_port()),
            format!("{source}.user={}", options.get_username()),
            format!("{source}.password={}", url.password().unwrap_or_default()),
            format!("{source}.dbname={}", options.get_database().unwrap_or_default()),
            format!("{sink}.bootstrap.servers={}", self.bootstrap_servers),
            // Beside other servers of this machine.
            "quarkus.http.host=127.0.0.1\nquarkus.http.port=0\n".to_owned(),
        ]
        .join("\n"))
    }
}
