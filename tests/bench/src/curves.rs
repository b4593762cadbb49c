//! The curves: a row's figures while one parameter grows, each point on servers of its own.

use crate::figures::Figure;
use crate::rows::accept::{Bench, record};
use crate::rows::{Setting, relay_poll};
use crate::servers::Servers;
use crate::waiting_rows::{self, Published};

/// A curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    Backlog,
    Finished,
    Lines,
}

/// Waiting rows where the finished ones are varied.
const WAITING: u64 = 100_000;
/// Rows of one statement that inserts finished ones.
const PER_STATEMENT: u64 = 1_000_000;
const CONNECTIONS: usize = 16;

impl Curve {
    pub(crate) const ALL: [Self; 3] = [Self::Backlog, Self::Finished, Self::Lines];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Backlog => "curve-backlog",
            Self::Finished => "curve-finished",
            Self::Lines => "curve-lines",
        }
    }

    pub(crate) const fn measures(self) -> &'static str {
        match self {
            Self::Backlog => "Waiting rows published by the polling relay of order, over how many wait.",
            Self::Finished => {
                "100,000 waiting rows published by the polling relay of order, over how many were published before them."
            }
            Self::Lines => {
                "Orders accepted over HTTP by order alone on 16 connections, over the lines of an order."
            }
        }
    }

    pub(crate) const fn beside(self) -> &'static str {
        match self {
            Self::Backlog | Self::Finished => "nothing; the row relay-poll has librdkafka.",
            Self::Lines => "pgbench with the statements recorded for an order of as many lines.",
        }
    }

    pub(crate) const fn parameter(self) -> &'static str {
        match self {
            Self::Backlog => "waiting rows",
            Self::Finished => "finished rows",
            Self::Lines => "lines",
        }
    }

    /// The values of the parameter.
    pub(crate) fn values(self, is_quick: bool) -> Vec<u64> {
        let all: &[u64] = match self {
            Self::Backlog => &[10_000, 100_000, 1_000_000],
            Self::Finished => &[10_000, 100_000, 1_000_000, 10_000_000],
            Self::Lines => &[1, 10, 300],
        };
        all[..if is_quick { 2 } else { all.len() }].to_vec()
    }

    /// The figures at one value.
    pub(crate) async fn point(
        self,
        setting: &Setting,
        servers: &Servers,
        at: u64,
    ) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::Backlog => {
                waiting_rows::prepare(servers, relay_poll::PREFIX).await?;
                Ok(relay(&relay_poll::once(servers, at).await?))
            }
            Self::Finished => {
                waiting_rows::prepare(servers, relay_poll::PREFIX).await?;
                finish(servers, at).await?;
                Ok(relay(&relay_poll::once(servers, setting.scaled(WAITING)).await?))
            }
            Self::Lines => lines(setting, servers, usize::try_from(at)?).await,
        }
    }
}

fn relay(published: &Published) -> Vec<Figure> {
    vec![
        Figure::new("published", "rows/s", published.per_second),
        Figure::new("CPU for a row", "us", published.cpu_us),
        Figure::new("memory", "MB", published.memory.rss_mb),
    ]
}

async fn finish(servers: &Servers, rows: u64) -> anyhow::Result<()> {
    let mut conn = servers.connect("tidings_order").await?;
    let mut left = rows;
    while left > 0 {
        let now = left.min(PER_STATEMENT);
        waiting_rows::insert(&mut conn, relay_poll::PREFIX, now).await?;
        waiting_rows::finish(&mut conn).await?;
        left -= now;
    }
    Ok(())
}

async fn lines(setting: &Setting, servers: &Servers, lines: usize) -> anyhow::Result<Vec<Figure>> {
    let script = record(servers, lines).await?;
    let bench = Bench { setting, servers, script: &script };
    let (placed, cpu_ms) = bench.order(CONNECTIONS, None, lines).await?;
    let beside = bench.pgbench(CONNECTIONS, None, 1).await?;
    Ok(vec![
        Figure::new("accepted", "orders/s", placed.per_second()).beside("pgbench", beside.per_second),
        Figure::new("pgbench", "orders/s", beside.per_second),
        Figure::new("CPU of order for an order", "ms", cpu_ms),
        Figure::new("p99", "ms", placed.latencies.p99_ms()),
    ])
}
