//! A round: one snapshot of each database, what came to the topics since the last round, and a comparison of every open order.
//!
//! Each order of which a record was read is either open, with all of its records in memory, or done and part of the sums. Nothing
//! changes before the whole round has succeeded: one that fails is made again from the same offsets.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::TimeDelta;
use contracts::{Codec, Topic, clock};
use messaging::partition_for_key;
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use uuid::Uuid;

use super::cycle::Cycle;
use super::moment::{Moment, Schemas};
use super::{Options, Scrub};
use crate::services::ServiceName;
use crate::verify::Target;
use crate::verify::case::Case;
use crate::verify::checks;
use crate::verify::databases::{self, ONE_SNAPSHOT, Snapshot};
use crate::verify::failures::Failures;
use crate::verify::history::{Range, Record};
use crate::verify::keys::Keys;
use crate::verify::report::{Comparisons, Violation};
use crate::verify::rows::notification;
use crate::verify::stream::{self, How, OPEN_BYTES, Open};
use crate::verify::sums::Sums;
use crate::verify::topics::{self, Offsets, Ranges, Reader};
use crate::verify::totals::Totals;
use crate::verify::unread::Unread;

/// The most records that a round reads; where there are more, everything is read once more in bounded memory.
const MOST_NEW: i64 = 100_000;
/// The pause between two cycles of the scrub.
const BETWEEN_CYCLES: Duration = Duration::from_secs(5);
/// How many orders are compared at once.
const ORDERS_AT_ONCE: usize = 1_000;
/// An order's first event that is written later than this may be a repetition; one of an order that was done lately is.
const WRITTEN_WITHIN: TimeDelta = TimeDelta::seconds(10);
/// How many completed orders are kept by id.
const RECENT: usize = 100_000;

/// What a round came to.
#[derive(Debug)]
pub(super) enum Round {
    /// Everything new was compared.
    Compared(Figures),
    /// What is known does not fit the topics any more, or is too much.
    Restart(String),
}

/// Figures of a round.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) records: u64,
    pub(super) ended: u64,
    pub(super) open: u64,
    /// From the writing of the oldest new record to the end of the round.
    pub(super) latency_ms: Option<i64>,
    /// Partitions that were left out, with the reason.
    pub(super) unread: Vec<String>,
    pub(super) scrub: Scrub,
}

/// What is known between two rounds.
pub(super) struct Rounds {
    target: Target,
    codec: Arc<Codec>,
    found: Sender<Violation>,
    reader: Reader,
    connections: Vec<PgConnection>,
    schemas: Schemas,
    /// What was read.
    ranges: Ranges,
    open: Open,
    ended: u64,
    totals: Totals,
    recent: Recent,
    /// What all mails have in common.
    mails: notification::Rows,
    /// How many orders a second the scrub compares.
    rate: u32,
    cycle: Option<Cycle>,
    scrub: Scrub,
    next_cycle: Instant,
}

impl Rounds {
    /// Reads and compares everything.
    ///
    /// # Errors
    /// When something can't be read, or more orders are open than memory is meant to hold.
    pub(super) async fn begin(
        target: &Target,
        codec: &Arc<Codec>,
        options: Options,
        found: &Sender<Violation>,
    ) -> anyhow::Result<Self> {
        let how = How { failures: Failures::Listed, found: Some(found.clone()), keeps_open: true };
        let verified = stream::verify(target, codec, how).await?;
        let Some(open) = verified.open else { bail!(too_many_open()) };
        Ok(Self {
            target: target.clone(),
            codec: Arc::clone(codec),
            found: found.clone(),
            reader: Reader::new(&target.kafka, codec.topics())?,
            connections: Vec::new(),
            schemas: topics::schemas(&target.registry, codec.topics()).await?,
            ranges: verified.offsets.ranges,
            ended: verified.done,
            open,
            totals: verified.totals.done(),
            recent: Recent::default(),
            mails: verified.mails,
            rate: options.scrub_rate,
            cycle: None,
            scrub: Scrub::default(),
            next_cycle: Instant::now() + BETWEEN_CYCLES,
        })
    }

    /// Compares what is new.
    ///
    /// # Errors
    /// When something can't be read: then nothing has changed.
    pub(super) async fn next(&mut self) -> anyhow::Result<Round> {
        // Dropped where the round fails.
        let mut connections = std::mem::take(&mut self.connections);
        if connections.is_empty() {
            for service in ServiceName::ALL {
                connections.push(databases::open(&self.target.postgres, service).await?);
            }
        }
        let mut transactions = Vec::new();
        for (service, connection) in ServiceName::ALL.into_iter().zip(&mut connections) {
            let transaction = connection.begin_with(ONE_SNAPSHOT).await;
            transactions.push(transaction.with_context(|| format!("reading {}", service.database()))?);
        }
        let round = self.compare(&mut transactions).await?;
        for (service, transaction) in ServiceName::ALL.into_iter().zip(transactions) {
            transaction.rollback().await.with_context(|| format!("reading {}", service.database()))?;
        }
        self.connections = connections;
        Ok(round)
    }

    async fn compare(&mut self, transactions: &mut [Transaction<'_, Postgres>]) -> anyhow::Result<Round> {
        let mut base = Snapshot::default();
        for (service, conn) in ServiceName::ALL.into_iter().zip(transactions.iter_mut()) {
            base.read_sums(service, conn).await?;
            if service == ServiceName::Notification && !self.mails.has_domain() {
                self.mails = notification::read(conn).await.context("reading mails")?;
            }
        }
        base.notification = self.mails.clone();
        let Offsets { ranges, unread } = self.reader.ranges(Some(&self.ranges)).await?;
        let new = match self.newer(&ranges) {
            Ok(new) => new,
            Err(reason) => return Ok(Round::Restart(reason)),
        };
        let records = self.reader.records(&self.codec, &new).await?;
        self.learn_schemas(&records).await?;
        let written = records.iter().filter_map(|record| record.timestamp_ms).min();
        let count = records.len() as u64;

        let mut totals = self.totals.done();
        let mut orders = self.open.clone();
        let (mut changed, mut again) = (BTreeSet::new(), BTreeMap::new());
        for record in records {
            if let Some(order_id) = record.order_id() {
                changed.insert(order_id);
                orders.entry(order_id).or_default().push(record);
            }
        }
        for order_id in changed.iter().filter(|id| !self.open.contains_key(id)) {
            let is_new = |records: &Vec<Record>| begins(records) && !self.recent.contains(order_id);
            if !orders.get(order_id).is_some_and(is_new) {
                again.insert(*order_id, Vec::new());
            }
        }
        self.recall(&mut again, &new, &unread).await?;
        for (order_id, mut records) in again.into_iter().filter(|(_, records)| !records.is_empty()) {
            totals.mark_counted(order_id);
            let newer = orders.entry(order_id).or_default();
            records.append(newer);
            *newer = records;
        }
        if orders.values().flatten().map(Record::size).sum::<usize>() > OPEN_BYTES {
            return Ok(Round::Restart(too_many_open()));
        }

        let codec = Arc::clone(&self.codec);
        let schemas = self.schemas.clone();
        let mut moment = Moment { codec: &codec, schemas, ranges, unread, base, transactions };
        let mut out = Comparisons::reporting_to(Some(self.found.clone()));
        // Those with a new record first; those in a partition that is not read wait.
        let rest = orders.keys().copied().filter(|id| !changed.contains(id));
        let ids = changed.iter().copied().chain(rest);
        let ids: Vec<Uuid> = ids.filter(|id| !moment.unread.has_order(*id)).collect();
        let mut done = Vec::new();
        for ids in ids.chunks(ORDERS_AT_ONCE) {
            let records = ids.iter().filter_map(|id| orders.get(id)).flatten().cloned().collect();
            let history = moment.history(records);
            let snapshot = moment.rows(&Keys::only(ids.to_vec()), &|_| true, &history.records).await?;
            let case = Case::new(codec.topics(), &history, &snapshot);
            checks::keys(&case, &mut out);
            checks::orders(&case, &mut totals, &mut out);
            done.extend(ids.iter().copied().filter(|id| case.is_done(*id)));
        }
        let sums = totals.sums();
        checks::sums(&Case::new(codec.topics(), &moment.history(Vec::new()), &moment.base), &sums, &mut out);
        let latency_ms = written.map(|written| clock::now().timestamp_millis() - written);
        let cycle = self.scrub(&mut moment, &orders, &changed, &sums, &mut out).await?;

        for order_id in &done {
            orders.remove(order_id);
            self.ended += u64::from(totals.close(*order_id));
            self.recent.add(*order_id);
        }
        // A partition that was not read goes on where it was.
        self.ranges.retain(|at, _| moment.unread.has(*at));
        self.ranges.append(&mut moment.ranges);
        (self.totals, self.open, self.cycle) = (totals, orders, cycle);
        Ok(Round::Compared(Figures {
            records: count,
            ended: self.ended,
            open: self.open.len() as u64,
            latency_ms,
            unread: moment.unread.reasons().collect(),
            scrub: self.scrub,
        }))
    }

    /// Goes on with a cycle of the scrub, which is given up where the round fails.
    async fn scrub(
        &mut self,
        moment: &mut Moment<'_, '_>,
        open: &Open,
        changed: &BTreeSet<Uuid>,
        sums: &Sums,
        out: &mut Comparisons,
    ) -> anyhow::Result<Option<Cycle>> {
        // One that began with other partitions begins again.
        let Some(mut cycle) = self.cycle.take().filter(|cycle| cycle.is_of(moment)) else {
            if Instant::now() < self.next_cycle {
                return Ok(None);
            }
            let number = self.scrub.completed + 1;
            let cycle = Cycle::begin(number, self.rate, &self.target.kafka, moment).await?;
            self.scrub = Scrub { last_cycle_seconds: self.scrub.last_cycle_seconds, ..cycle.progress };
            return Ok(Some(cycle));
        };
        cycle.changed(changed);
        let is_complete = cycle.step(moment, open, sums, out).await?;
        self.scrub.compared = cycle.progress.compared;
        if is_complete {
            self.scrub.completed += 1;
            self.scrub.last_cycle_seconds = Some(cycle.elapsed().as_secs_f64());
            self.next_cycle = Instant::now() + BETWEEN_CYCLES;
        }
        Ok(Some(cycle).filter(|_| !is_complete))
    }

    /// What came to each partition since the last round; or why everything is to be read once more.
    fn newer(&self, ranges: &Ranges) -> Result<Ranges, String> {
        let mut new = Ranges::new();
        for (at @ (topic, partition), range) in ranges {
            let known = self.ranges.get(at).map(|known| known.high);
            let Some(low) = known.filter(|known| (range.low..=range.high).contains(known)) else {
                let Range { low, high, .. } = range;
                return Err(match known {
                    None => format!("{topic}/{partition} can be read, and was not before"),
                    Some(known) => {
                        format!("{topic}/{partition} holds {low} to {high}, and was read to {known}")
                    }
                });
            };
            new.insert(*at, Range { low, ..*range });
        }
        let records: i64 = new.values().map(|range| range.high - range.low).sum();
        if records > MOST_NEW { Err(format!("{records} records are new")) } else { Ok(new) }
    }

    /// A schema may be registered at any time.
    async fn learn_schemas(&mut self, records: &[Record]) -> anyhow::Result<()> {
        let is_known = |record: &Record| {
            let Ok(event) = &record.event else { return true };
            let known = self.schemas.get(&(record.place.topic, event.event_type()));
            record.schema_id().is_none_or(|id| known.is_some_and(|known| known.contains(&id)))
        };
        if !records.iter().all(is_known) {
            self.schemas = topics::schemas(&self.target.registry, self.codec.topics()).await?;
        }
        Ok(())
    }

    /// Reads the earlier records of orders that were done: nothing more was to come, and something did.
    async fn recall(
        &self,
        orders: &mut BTreeMap<Uuid, Vec<Record>>,
        new: &Ranges,
        unread: &Unread,
    ) -> anyhow::Result<()> {
        let count = |topic| Some((topic, unread.partitions(topic)?));
        let partitions: Vec<(Topic, i32)> = Topic::ALL.into_iter().filter_map(count).collect();
        let mut earlier = Ranges::new();
        for order_id in orders.keys() {
            for (topic, count) in partitions.iter().filter(|(topic, _)| *topic != Topic::Stock) {
                let at = (*topic, partition_for_key(order_id.to_string().as_bytes(), *count));
                if let (Some(range), Some(new)) = (self.ranges.get(&at), new.get(&at)) {
                    earlier.insert(at, Range { high: new.low, ..*range });
                }
            }
        }
        let mut pieces = self.reader.stream(&earlier);
        while let Some(piece) = pieces.recv().await {
            for mut record in piece? {
                if let Some(records) = record.order_id().and_then(|id| orders.get_mut(&id)) {
                    let (topic, value) = (record.place.topic, record.value.as_deref());
                    record.event = topics::decode(&self.codec, topic, value).await?;
                    records.push(record);
                }
            }
        }
        Ok(())
    }
}

/// The orders that were done last.
#[derive(Default)]
struct Recent {
    ids: HashSet<Uuid>,
    in_order: VecDeque<Uuid>,
}

impl Recent {
    fn add(&mut self, order_id: Uuid) {
        if self.ids.insert(order_id) {
            self.in_order.push_back(order_id);
        }
        if self.in_order.len() > RECENT
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    fn contains(&self, order_id: &Uuid) -> bool {
        self.ids.contains(order_id)
    }
}

fn too_many_open() -> String {
    format!("orders that go on have more than {} MiB of records", OPEN_BYTES / 1024 / 1024)
}

/// Whether the first event of an order is among these records, written when it happened.
fn begins(records: &[Record]) -> bool {
    records.iter().any(|record| {
        let Ok(event) = &record.event else { return false };
        let occurred_at = event.occurred_at().timestamp_millis();
        let late = record.timestamp_ms.map_or(i64::MAX, |written| written - occurred_at);
        record.place.topic == Topic::Orders
            && event.sequence() == 1
            && late < WRITTEN_WITHIN.num_milliseconds()
    })
}
