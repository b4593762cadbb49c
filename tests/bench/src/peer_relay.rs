//! Debezium Server publishing the rows that order's relay publishes, by logical replication of the same table.

use std::time::Duration;

use anyhow::{Context as _, bail};
use debezium::topic::Topic;
use debezium::{DebeziumServer, Source};
use tidings::output;
use tidings::services::ServiceName;
use tokio::time::{Instant, sleep};

use crate::processes::{Memory, cpu_seconds, memory};
use crate::servers::Servers;
use crate::waiting_rows::{self, PER_KEY};

/// How often the end of the topic is asked for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long no record may be published before it is given up. A Java program starts within it.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);

/// What it came to.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its name and version.
    pub(crate) name: String,
    /// Rows a second of the first rows that the process publishes.
    pub(crate) cold_per_second: f64,
    /// The same of as many rows again.
    pub(crate) per_second: f64,
    /// Microseconds of its CPU time for one of the latter.
    pub(crate) cpu_us: f64,
    pub(crate) memory: Memory,
}

/// Publishes `rows` twice with one process, on a PostgreSQL of its own. Nothing where Debezium Server is missing: says what
/// to do.
///
/// # Errors
/// When it does not publish them.
pub(crate) async fn measure(servers: &Servers, prefix: &str, rows: u64) -> anyhow::Result<Option<Peer>> {
    let version = match debezium::version().await {
        Ok(version) => version,
        Err(error) => {
            output::diagnostic(&format!("relay: measured without its peer: {error:#}"));
            return Ok(None);
        }
    };
    let servers = Servers::start_with(&servers.kafka, &servers.binaries, &[("wal_level", "logical")]).await?;
    waiting_rows::prepare(&servers, prefix).await?;
    let name = format!("{prefix}.orders");
    let mut conn = servers.connect("tidings_order").await?;
    debezium::prepare(&mut conn, &servers.kafka.addresses.bootstrap_servers, &[&name]).await?;
    waiting_rows::insert(&mut conn, prefix, rows).await?;
    servers.checkpoint().await?;

    let (database, folder) = (servers.database_of(ServiceName::Order), servers.files().join("debezium"));
    let source =
        Source { database: &database, bootstrap_servers: &servers.kafka.addresses.bootstrap_servers };
    let mut counted = Counted { debezium: DebeziumServer::start(&folder, source)?, topic: name };
    let cold = counted.publish(&servers, 0, rows).await?;
    output::diagnostic(&format!("Debezium Server: {:.0} rows/s", cold.per_second));
    // Rows of one transaction come when it commits: until then, they wait in the server.
    waiting_rows::insert(&mut conn, prefix, rows).await?;
    let warm = counted.publish(&servers, rows, rows).await?;
    output::diagnostic(&format!("Debezium Server, warm: {:.0} rows/s", warm.per_second));
    let memory = counted.debezium.pid().map(memory).unwrap_or_default();
    counted.debezium.kill().await?;
    Ok(Some(Peer {
        name: format!("Debezium Server {version}"),
        cold_per_second: cold.per_second,
        per_second: warm.per_second,
        cpu_us: warm.cpu_us,
        memory,
    }))
}

/// A process and the topic that shows what it does.
struct Counted {
    debezium: DebeziumServer,
    topic: String,
}

struct Rate {
    per_second: f64,
    cpu_us: f64,
}

impl Counted {
    /// Waits until `rows` more than `before` are on the topic; the time runs from the first that are.
    async fn publish(&mut self, servers: &Servers, before: u64, rows: u64) -> anyhow::Result<Rate> {
        let (before, rows) = (before - before % PER_KEY, rows - rows % PER_KEY);
        let mut topic =
            Topic::open(&servers.kafka.addresses.bootstrap_servers, &self.topic).context("the topic")?;
        let mut first = None;
        let (mut last, mut moved_at) = (0, Instant::now());
        while last < rows {
            self.debezium.check()?;
            let (read, ends) = tokio::task::spawn_blocking(move || {
                let ends = topic.ends();
                (topic, ends)
            })
            .await?;
            topic = read;
            let now = u64::try_from(ends?.values().sum::<i64>())?.saturating_sub(before);
            if now > last {
                (last, moved_at) = (now, Instant::now());
                first.get_or_insert((now, moved_at, self.cpu_seconds()));
            } else if moved_at.elapsed() >= STALL_TIMEOUT {
                bail!(
                    "Debezium Server has published {last} of {rows} rows, and no more for {} s:\n{}",
                    STALL_TIMEOUT.as_secs(),
                    self.debezium.end_of_log()
                );
            }
            sleep(LOOK_AGAIN).await;
        }
        let (already, since, cpu) = first.context("no row was asked for")?;
        let counted = (last - already).max(1) as f64;
        Ok(Rate {
            per_second: counted / (moved_at - since).as_secs_f64().max(LOOK_AGAIN.as_secs_f64()),
            cpu_us: (self.cpu_seconds() - cpu) * 1e6 / counted,
        })
    }

    fn cpu_seconds(&self) -> f64 {
        self.debezium.pid().map(cpu_seconds).unwrap_or_default()
    }
}
