//! The leader's work on its session, one piece after the other.
//!
//! The connection moves into a piece of work and comes back with its result. A statement without an answer is therefore the
//! last one of its session: when the bound passes, or the leader ends, the connection is dropped, and the lock with it.
//!
//! ```text
//! A       UPDATE finished_at ── no answer ── bound: connection dropped
//! server  UPDATE runs ────────────────── ends ── session ends, lock free
//! B       no lock ································ lock, reads what is unpublished
//! ```
//!
//! So B reads after A's last statement, with its effect or without; it never reads beside it.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::{Instant, timeout};

use super::log_work::{LogDone, LogWork, Phase, perform_log};
use crate::relay::config::RelayConfig;
use crate::relay::poll::deferred::Choice;
use crate::relay::poll::partitions::{Candidate, Limit, Page, Scope};
use crate::relay::poll::session_error::SessionError;
use crate::relay::poll::table::{self, Block, Dropped};
use crate::relay::poll::{pages, pending, reports};
use crate::relay::row::Row;

/// What the session does next, in this order.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) from: Phase,
    pub(super) log: LogWork,
    pub(super) finish: Vec<i64>,
    pub(super) blocks: Vec<Block>,
    /// Topics that take records again.
    pub(super) retry_now: Vec<String>,
    pub(super) read: Option<ReadPlan>,
    /// Messages whose places in their keys are known. They are read while nothing else is.
    pub(super) deferred: Vec<Choice>,
    pub(super) drop_table_partition: bool,
}

#[derive(Debug)]
pub(super) struct ReadPlan {
    pub(super) scope: Scope,
    pub(super) pages: Vec<Page>,
    /// The topics that can be read, when it is looked for new ones.
    pub(super) known_topics: Option<Vec<String>>,
    /// Those among them that can't be read yet: their partitions are unknown.
    pub(super) unlearned: Vec<String>,
    pub(super) limit: Limit,
    /// Whole pages may be read.
    pub(super) whole_pages: bool,
    pub(super) buffered: Vec<i64>,
}

pub(super) struct Done {
    pub(super) work: Work,
    /// Each with the partition for which it was chosen.
    pub(super) rows: Vec<(i32, Box<Row>)>,
    pub(super) new_topics: Vec<String>,
    /// Those that can't be read yet, and have messages to publish.
    pub(super) due_unlearned: Option<Vec<String>>,
    /// Refused messages that are to be tried again.
    #[expect(clippy::vec_box, reason = "a row moves on as a pointer")]
    pub(super) due: Vec<Box<Row>>,
    pub(super) read_took: Duration,
    pub(super) dropped: Option<Dropped>,
    pub(super) log: LogDone,
}

pub(super) type Session = (PgConnection, Result<Done, SessionError>);

/// Works on the session. The connection comes back with the result; dropping this closes it.
pub(super) async fn perform(mut conn: PgConnection, work: Work, config: RelayConfig) -> Session {
    let bound = config.answer_timeout();
    let done = timeout(bound, perform_on(&mut conn, work, &config)).await;
    let done = done.map_err(|_| SessionError::NoAnswer(bound)).and_then(|done| Ok(done?));
    (conn, done)
}

async fn perform_on(
    conn: &mut PgConnection,
    mut work: Work,
    config: &RelayConfig,
) -> Result<Done, sqlx::Error> {
    if !work.log.spills.is_empty() {
        // Before they are finished, blocked, or looked for.
        pending::add(conn, &work.log.spills).await?;
    }
    if !work.finish.is_empty() {
        match work.from {
            Phase::Table => table::finish(conn, &work.finish).await?,
            Phase::Frozen | Phase::Log => pending::finish(conn, &work.finish).await?,
        }
    }
    for block in &work.blocks {
        table::record_block(conn, block, config).await?;
    }
    if !work.retry_now.is_empty() {
        table::retry_now(conn, &work.retry_now).await?;
    }
    let log = perform_log(conn, &work.log).await?;
    let started = Instant::now();
    let (mut rows, mut new_topics, mut due) = (Vec::new(), Vec::new(), Vec::new());
    let mut due_unlearned = None;
    if let Some(plan) = &mut work.read {
        if let Some(known) = &plan.known_topics {
            let topics = match work.from {
                Phase::Table => table::topics(conn).await?,
                Phase::Frozen | Phase::Log => pending::topics(conn).await?,
            };
            new_topics.extend(topics.into_iter().filter(|topic| !known.contains(topic)));
            let ids = table::due(conn, &plan.buffered).await?;
            due = read_ids(conn, work.from, &ids).await?;
            due_unlearned = Some(match (plan.unlearned.is_empty(), work.from) {
                (true, _) => Vec::new(),
                (false, Phase::Table) => reports::due_topics(conn, &plan.unlearned).await?,
                (false, Phase::Frozen | Phase::Log) => pending::due_topics(conn, &plan.unlearned).await?,
            });
        }
        rows = read(conn, work.from, plan).await?;
    } else if !work.deferred.is_empty() {
        rows = read_rows(conn, work.from, &work.deferred).await?;
    }
    let read_took = started.elapsed();
    let dropped = match work.drop_table_partition {
        true => Some(table::drop_table_partition(conn, config).await?),
        false => None,
    };
    Ok(Done { work, rows, new_topics, due_unlearned, due, read_took, dropped, log })
}

/// Reads of each page what partitions have room for: the whole rows at once, or the ids and then the rows.
async fn read(
    conn: &mut PgConnection,
    from: Phase,
    plan: &mut ReadPlan,
) -> Result<Vec<(i32, Box<Row>)>, sqlx::Error> {
    let ReadPlan { pages: all, buffered, limit, whole_pages, .. } = plan;
    let (mut of_rows, mut of_ids): (Vec<&mut Page>, Vec<&mut Page>) =
        all.iter_mut().partition(|page| *whole_pages && from == Phase::Table && page.is_of_rows());
    let mut rows = read_pages(conn, &mut of_rows, buffered).await?;
    rows.extend(look_then_read(conn, from, &mut of_ids, buffered, limit.bytes).await?);
    Ok(rows)
}

/// Reads pages with their rows. A topic's page is of one snapshot.
async fn read_pages(
    conn: &mut PgConnection,
    pages: &mut [&mut Page],
    buffered: &[i64],
) -> Result<Vec<(i32, Box<Row>)>, sqlx::Error> {
    if pages.is_empty() {
        return Ok(Vec::new());
    }
    let mut of_topic: HashMap<String, Vec<Box<Row>>> =
        pages.iter().map(|page| (page.topic.clone(), Vec::new())).collect();
    let looks: Vec<&Page> = pages.iter().map(|page| &**page).collect();
    for row in pages::rows(conn, &looks, buffered).await? {
        if let Some(rows) = of_topic.get_mut(&row.topic) {
            rows.push(row);
        }
    }
    let mut read = Vec::new();
    for page in pages {
        let rows = of_topic.remove(&page.topic).unwrap_or_default();
        let bytes = |row: &Row| {
            row.key.as_deref().map_or(0, <[u8]>::len) + row.value.as_deref().map_or(0, <[u8]>::len)
        };
        let candidate = |row: &Row| Candidate { id: row.id, key: row.key.clone(), bytes: bytes(row) };
        let candidates: Vec<Candidate> = rows.iter().map(|row| candidate(row)).collect();
        let read_bytes: usize = candidates.iter().map(|candidate| candidate.bytes).sum();
        let is_cut = candidates.len() >= page.rows || read_bytes >= page.bytes();
        let mut chosen = page.choose(&candidates, is_cut).into_iter().peekable();
        // Both are in order of their ids.
        let take = |row: Box<Row>| Some((chosen.next_if(|choice| choice.id == row.id)?.partition, row));
        read.extend(rows.into_iter().filter_map(take));
    }
    Ok(read)
}

/// Looks at pages without their rows, and reads those that were chosen. A topic's page is of one snapshot. The rows may be of
/// a later one, which shows all of them: those chosen are the first ones of each key, as the page showed them.
async fn look_then_read(
    conn: &mut PgConnection,
    from: Phase,
    pages: &mut [&mut Page],
    buffered: &[i64],
    limit_bytes: usize,
) -> Result<Vec<(i32, Box<Row>)>, sqlx::Error> {
    if pages.is_empty() {
        return Ok(Vec::new());
    }
    let mut of_topic: HashMap<String, Vec<Candidate>> = HashMap::new();
    let looks: Vec<&Page> = pages.iter().map(|page| &**page).collect();
    let candidates = match from {
        Phase::Table => pages::candidates(conn, &looks, buffered, limit_bytes).await?,
        Phase::Frozen | Phase::Log => pending::candidates(conn, &looks, buffered, limit_bytes).await?,
    };
    for (topic, candidate) in candidates {
        of_topic.entry(topic).or_default().push(candidate);
    }
    let mut chosen = Vec::new();
    for page in pages {
        let candidates = of_topic.remove(&page.topic).unwrap_or_default();
        let key_bytes: usize =
            candidates.iter().filter_map(|candidate| candidate.key.as_ref()).map(|key| key.len()).sum();
        let is_cut = candidates.len() >= page.rows || key_bytes >= limit_bytes;
        chosen.extend(page.choose(&candidates, is_cut));
    }
    read_rows(conn, from, &chosen).await
}

async fn read_rows(
    conn: &mut PgConnection,
    from: Phase,
    chosen: &[Choice],
) -> Result<Vec<(i32, Box<Row>)>, sqlx::Error> {
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let partitions: HashMap<i64, i32> = chosen.iter().map(|choice| (choice.id, choice.partition)).collect();
    let ids: Vec<i64> = chosen.iter().map(|choice| choice.id).collect();
    let rows = read_ids(conn, from, &ids).await?;
    Ok(rows.into_iter().filter_map(|row| Some((*partitions.get(&row.id)?, row))).collect())
}

async fn read_ids(conn: &mut PgConnection, from: Phase, ids: &[i64]) -> Result<Vec<Box<Row>>, sqlx::Error> {
    match from {
        _ if ids.is_empty() => Ok(Vec::new()),
        Phase::Table => table::read(conn, ids).await,
        Phase::Frozen | Phase::Log => pending::read(conn, ids).await,
    }
}
