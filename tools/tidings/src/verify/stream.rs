//! Verification in bounded memory: topics partition by partition beside what each inbox says of them, spilled by key range, then compared
//! range by range.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;

use anyhow::Context;
use contracts::Codec;
use contracts::topics::Topic;
use futures::{Stream, StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::case::Case;
use super::checks::{self, DeadLetters, Totals};
use super::databases::{self, ONE_SNAPSHOT, Snapshot};
use super::delivery::{self, Delivery, InboxRow};
use super::history::{History, Place, Record};
use super::keys::Keys;
use super::report::{Comparisons, Report};
use super::services::order;
use super::spill::{Entry, Parts};
use super::{Target, topics};
use crate::services::ServiceName;

/// Orders that are compared at once, unless there would be too many ranges.
const ORDERS_AT_ONCE: i64 = 1_000;
/// The most ranges, each with a temporary file of its own.
const MOST_RANGES: i64 = 500;

type InboxRows<'c> = Pin<Box<dyn Stream<Item = sqlx::Result<InboxRow>> + Send + 'c>>;

/// What `verify` found, and whether the system was quiet.
pub(super) struct Verified {
    pub(super) report: Report,
    pub(super) is_quiet: bool,
}

/// Reads and compares everything.
///
/// # Errors
/// When a database, the broker or the registry can't be read.
pub(super) async fn verify(
    target: &Target,
    codec: &Codec,
    dead_letters: DeadLetters,
) -> anyhow::Result<Verified> {
    let mut connections = Vec::new();
    for service in ServiceName::ALL {
        connections.push(databases::open(&target.postgres, service).await?);
    }
    // One snapshot a database, held to the end.
    let mut transactions: Vec<Transaction<'_, Postgres>> = Vec::new();
    for connection in &mut connections {
        transactions.push(connection.begin_with(ONE_SNAPSHOT).await?);
    }
    let mut shared = Snapshot::default();
    for (service, conn) in ServiceName::ALL.into_iter().zip(&mut transactions) {
        shared.read_whole(service, conn).await?;
    }
    let orders = order::count(&mut transactions[0]).await.context("counting orders")?;
    let size = (orders / MOST_RANGES).max(ORDERS_AT_ONCE);
    let starts = order::ranges(&mut transactions[0], size).await.context("dividing orders")?;

    // The topics after the databases: everything that these call published must be there.
    let history = History {
        ranges: topics::ranges(&target.kafka, codec.topics()).await?,
        schemas: topics::schemas(&target.registry, codec.topics()).await?,
        ..History::default()
    };
    let mut reading = Reading {
        target,
        codec,
        shared,
        history,
        parts: Parts::new(Keys::beginning_at(&starts)),
        out: Comparisons::default(),
    };
    reading.spill(&mut transactions).await?;
    let (report, is_quiet) = reading.compare(&mut transactions, dead_letters, orders).await?;
    for transaction in transactions {
        transaction.rollback().await?;
    }
    for connection in connections {
        connection.close().await?;
    }
    Ok(Verified { report, is_quiet })
}

struct Reading<'a> {
    target: &'a Target,
    codec: &'a Codec,
    /// What every part of the comparison needs.
    shared: Snapshot,
    /// Ranges and schemas; the records that positions and dead letters name; causes in other parts.
    history: History,
    parts: Parts,
    out: Comparisons,
}

/// The order that a key names; none for a SKU.
fn order_id(topic: Topic, key: Option<&[u8]>) -> Option<Uuid> {
    let key = key.and_then(|key| std::str::from_utf8(key).ok())?;
    if topic == Topic::Stock { None } else { Uuid::parse_str(key).ok() }
}

/// Whether a record is the last one below a position of its partition.
fn is_last(positions: &HashMap<(Topic, i32), BTreeSet<i64>>, record: &Record, next: Option<&Record>) -> bool {
    let Place { topic, partition, offset } = record.place;
    let is_same = |next: &&Record| (next.place.topic, next.place.partition) == (topic, partition);
    let end = next.filter(is_same).map_or(i64::MAX, |next| next.place.offset);
    positions
        .get(&(topic, partition))
        .is_some_and(|positions| positions.range(offset + 1..=end).next().is_some())
}

impl Reading<'_> {
    /// Reads topics, inboxes and outboxes once, and puts each entry into the part of its key.
    async fn spill(&mut self, transactions: &mut [Transaction<'_, Postgres>]) -> anyhow::Result<()> {
        let causes = self.causes_of_stock().await?;
        let records: i64 = self.history.ranges.values().map(|range| range.high - range.low).sum();
        let progress = progress("records read", records);
        let named = self.named_places();
        let mut inboxes: Vec<Inbox<'_>> = Vec::new();
        for ((number, service), conn) in (0_u8..).zip(ServiceName::ALL).zip(transactions.iter_mut()) {
            inboxes.push(Inbox::open(number, service, conn).await?);
        }
        let mut pieces = topics::stream(&self.target.kafka, self.codec.topics(), &self.history.ranges);
        let (positions, mut last) = (self.positions(), Vec::new());
        let mut before: Option<Record> = None;
        while let Some(piece) = pieces.recv().await {
            let piece = piece?;
            progress.inc(piece.len() as u64);
            for record in piece {
                last.extend(before.take_if(|before| is_last(&positions, before, Some(&record))));
                let name = self.codec.topics().name(record.place.topic);
                let order_id = order_id(record.place.topic, record.key.as_deref());
                for inbox in &mut inboxes {
                    inbox.at(&name, record.place, order_id, self).await?;
                }
                if named.contains(&record.place) {
                    self.history.records.push(record.clone());
                }
                if record
                    .header("ce_id")
                    .and_then(|id| Uuid::parse_str(id).ok())
                    .is_some_and(|id| causes.contains(&id))
                {
                    self.history.causes.push(record.clone());
                }
                let entry = Entry::Record(Box::new(record));
                self.parts.add(order_id, &entry)?;
                before = match entry {
                    Entry::Record(record) => Some(*record),
                    Entry::Inbox(..) | Entry::Message(..) => None,
                };
            }
        }
        last.extend(before.take_if(|before| is_last(&positions, before, None)));
        self.history.records.append(&mut last);
        for inbox in &mut inboxes {
            inbox.rest(self).await?;
        }
        drop(inboxes);
        for ((number, _), conn) in (0_u8..).zip(ServiceName::ALL).zip(transactions.iter_mut()) {
            let mut messages = std::pin::pin!(delivery::messages(conn));
            while let Some(row) = messages.try_next().await.context("reading an outbox")? {
                let topic = self.codec.topics().parse(&row.topic).unwrap_or(Topic::Stock);
                let order_id = order_id(topic, row.subject.as_deref().map(str::as_bytes));
                self.parts.add(order_id, &Entry::Message(number, Box::new(row)))?;
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    /// The events that stock's events name as their causes: they stand in other parts.
    async fn causes_of_stock(&self) -> anyhow::Result<BTreeSet<Uuid>> {
        let of_stock = |((topic, partition), range): (&(Topic, i32), &_)| {
            (*topic == Topic::Stock).then_some(((*topic, *partition), *range))
        };
        let ranges = self.history.ranges.iter().filter_map(of_stock).collect();
        let mut pieces = topics::stream(&self.target.kafka, self.codec.topics(), &ranges);
        let mut causes = BTreeSet::new();
        while let Some(piece) = pieces.recv().await {
            let ids = |record: &Record| Uuid::parse_str(record.header("ce_causationid")?).ok();
            causes.extend(piece?.iter().filter_map(ids));
        }
        Ok(causes)
    }

    /// The places that dead letters and their audit name.
    fn named_places(&self) -> BTreeSet<Place> {
        let topics = self.codec.topics();
        let place =
            |topic: &str, partition, offset| Some(Place { topic: topics.parse(topic)?, partition, offset });
        let of = |delivery: &Delivery| -> Vec<Place> {
            let letters =
                delivery.letters.iter().filter_map(|row| place(&row.topic, row.partition, row.offset));
            let audit = delivery.audit.iter().filter_map(|row| place(&row.topic, row.partition, row.offset));
            letters.chain(audit).collect()
        };
        self.shared.delivery.values().flat_map(of).collect()
    }

    /// Where the services stand in each partition.
    fn positions(&self) -> HashMap<(Topic, i32), BTreeSet<i64>> {
        let mut positions: HashMap<(Topic, i32), BTreeSet<i64>> = HashMap::new();
        for ((name, partition), row) in self.shared.delivery.values().flat_map(|delivery| &delivery.positions)
        {
            if let Some(topic) = self.codec.topics().parse(name) {
                positions.entry((topic, *partition)).or_default().insert(row.next_offset);
            }
        }
        positions
    }

    /// Compares part by part, then the whole.
    async fn compare(
        mut self,
        transactions: &mut [Transaction<'_, Postgres>],
        dead_letters: DeadLetters,
        orders: i64,
    ) -> anyhow::Result<(Report, bool)> {
        let mut totals = Totals::default();
        let progress = progress("orders compared", orders);
        for (at, keys) in self.parts.ranges().to_vec().into_iter().enumerate() {
            let mut snapshot = self.shared.without_rows();
            let history = self.take(at, &mut snapshot).await?;
            for (service, conn) in ServiceName::ALL.into_iter().zip(transactions.iter_mut()) {
                snapshot.read_orders(service, conn, keys).await?;
            }
            let case = Case::new(self.codec.topics(), &history, &snapshot);
            checks::keys(&case, &mut self.out);
            checks::orders(&case, &mut totals, &mut self.out);
            progress.inc(case.orders.len() as u64);
        }
        progress.finish_and_clear();
        let mut snapshot = self.shared.without_rows();
        let history = self.take(self.parts.ranges().len(), &mut snapshot).await?;
        snapshot.inventory = self.shared.inventory.clone();
        snapshot.analytics = self.shared.analytics.clone();
        let case = Case::new(self.codec.topics(), &history, &snapshot);
        checks::keys(&case, &mut self.out);
        checks::skus(&case, &totals, &mut self.out);

        let mut history = std::mem::take(&mut self.history);
        history.causes.clear();
        history.records.sort_by_key(|record| record.place);
        history.records.dedup_by_key(|record| record.place);
        self.decode(&mut history.records).await?;
        let case = Case::new(self.codec.topics(), &history, &self.shared);
        checks::whole(&case, &totals, dead_letters, &mut self.out);
        let is_quiet = case.is_quiet();
        Ok((self.out.into_report(), is_quiet))
    }

    /// What a part has got, decoded: its records as a history, its rows in `snapshot`.
    async fn take(&mut self, at: usize, snapshot: &mut Snapshot) -> anyhow::Result<History> {
        let mut history = History {
            ranges: self.history.ranges.clone(),
            schemas: self.history.schemas.clone(),
            causes: if at == self.parts.ranges().len() { self.history.causes.clone() } else { Vec::new() },
            ..History::default()
        };
        for entry in self.parts.take(at)? {
            match entry {
                Entry::Record(record) => history.records.push(*record),
                Entry::Inbox(service, row) => {
                    let delivery =
                        snapshot.delivery.entry(ServiceName::ALL[usize::from(service)]).or_default();
                    delivery.events.insert(row.event_id, row);
                }
                Entry::Message(service, row) => {
                    let delivery =
                        snapshot.delivery.entry(ServiceName::ALL[usize::from(service)]).or_default();
                    delivery.messages.push(*row);
                }
            }
        }
        self.decode(&mut history.records).await?;
        self.decode(&mut history.causes).await?;
        snapshot.decode_waiting(self.codec).await?;
        Ok(history)
    }

    async fn decode(&self, records: &mut [Record]) -> anyhow::Result<()> {
        for record in records {
            record.event = topics::decode(self.codec, record.place.topic, record.value.as_deref()).await?;
        }
        Ok(())
    }
}

/// What an inbox says of the records, read beside them.
struct Inbox<'c> {
    number: u8,
    service: ServiceName,
    rows: InboxRows<'c>,
    next: Option<InboxRow>,
}

impl<'c> Inbox<'c> {
    async fn open(number: u8, service: ServiceName, conn: &'c mut PgConnection) -> anyhow::Result<Self> {
        let mut inbox = Self { number, service, rows: Box::pin(delivery::events(conn)), next: None };
        inbox.advance().await?;
        Ok(inbox)
    }

    async fn advance(&mut self) -> anyhow::Result<Option<InboxRow>> {
        let next = self.rows.next().await.transpose();
        let next = next.with_context(|| format!("reading {}", self.service.database()))?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Hands on what the inbox says of the record at this place. What it says of places before it, at which no record
    /// stands, belongs to no order.
    async fn at(
        &mut self,
        name: &str,
        place: Place,
        order_id: Option<Uuid>,
        reading: &mut Reading<'_>,
    ) -> anyhow::Result<()> {
        let here = (name, place.partition, place.offset);
        while let Some(row) = &self.next {
            let there = (row.topic.as_str(), row.partition, row.offset);
            if there > here {
                break;
            }
            let order_id = if there == here { order_id } else { None };
            if let Some(row) = self.advance().await? {
                self.spill(row, order_id, reading)?;
            }
        }
        Ok(())
    }

    async fn rest(&mut self, reading: &mut Reading<'_>) -> anyhow::Result<()> {
        while let Some(row) = self.advance().await? {
            self.spill(row, None, reading)?;
        }
        Ok(())
    }

    fn spill(&self, row: InboxRow, order_id: Option<Uuid>, reading: &mut Reading<'_>) -> anyhow::Result<()> {
        // Dead letters are compared as a whole.
        if row.outcome != "applied" {
            let delivery = reading.shared.delivery.entry(self.service).or_default();
            delivery.events.insert(row.event_id, row.clone());
        }
        reading.parts.add(order_id, &Entry::Inbox(self.number, row))
    }
}

fn progress(what: &'static str, of: i64) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(of).unwrap_or_default());
    let style = ProgressStyle::with_template("{msg} {human_pos} of {human_len}, {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(what)
}
