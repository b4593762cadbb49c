//! Verification in bounded memory: topics partition by partition beside what each inbox says of them, spilled by key range, then compared
//! range by range.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::time::Duration;

use contracts::Codec;
use contracts::topics::Topic;
use futures::{Stream, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use tokio::sync::mpsc::Sender;
use uuid::Uuid;

use super::case::Case;
use super::checks;
use super::databases::{self, ONE_SNAPSHOT, Snapshot, said};
use super::delivery::{self, InboxRow};
use super::failures::Failures;
use super::history::{History, Place, Record};
use super::report::{Comparisons, Report, Violation};
use super::rows::{notification, order};
use super::spill::{Entry, Parts};
use super::topics::{Offsets, Reader, Stalled};
use super::totals::Totals;
use super::{Target, topics};
use crate::services::ServiceName;

type InboxRows<'c> = Pin<Box<dyn Stream<Item = sqlx::Result<InboxRow>> + Send + 'c>>;

/// The most bytes of records of open orders that are kept.
pub(super) const OPEN_BYTES: usize = 256 * 1024 * 1024;

/// How everything is read and compared.
pub(super) struct How {
    pub(super) failures: Failures,
    /// Where each violation is sent as it is found.
    pub(super) found: Option<Sender<Violation>>,
    /// Whether the records of orders that go on are wanted.
    pub(super) keeps_open: bool,
}

/// What was found.
pub(super) struct Verified {
    pub(super) report: Report,
    pub(super) is_quiet: bool,
    /// How many orders nothing more comes of.
    pub(super) done: u64,
    pub(super) totals: Totals,
    pub(super) offsets: Offsets,
    /// What all mails have in common.
    pub(super) mails: notification::Rows,
    /// The records of orders that go on. None where they are more than are kept, or not wanted.
    pub(super) open: Option<Open>,
}

/// Orders with their records.
pub(super) type Open = BTreeMap<Uuid, Vec<Record>>;

/// Reads and compares everything.
///
/// # Errors
/// When a database, the broker or the registry can't be read.
pub(super) async fn verify(target: &Target, codec: &Codec, how: How) -> anyhow::Result<Verified> {
    let reader = Reader::new(&target.kafka, codec.topics())?;
    let before = reader.ranges(None).await?;
    let mut connections = Vec::new();
    for service in ServiceName::ALL {
        connections.push(databases::open(&target.postgres, service).await?);
    }
    // One snapshot a database, held to the end.
    let mut transactions: Vec<Transaction<'_, Postgres>> = Vec::new();
    let silence = target.silence;
    for (service, connection) in ServiceName::ALL.into_iter().zip(&mut connections) {
        transactions.push(said(silence, service, connection.begin_with(ONE_SNAPSHOT)).await?);
    }
    let mut shared = Snapshot::default();
    for (service, conn) in ServiceName::ALL.into_iter().zip(&mut transactions) {
        said(silence, service, shared.read_whole(service, conn)).await?;
    }
    let (orders, keys) = said(silence, ServiceName::Order, order::ranges(&mut transactions[0])).await?;

    // The topics after the databases: everything that these call published must be there.
    let Offsets { ranges, unread } = reader.ranges(Some(&before.ranges)).await?;
    let history = History {
        ranges,
        unread,
        schemas: topics::schemas(&target.registry, codec.topics()).await?,
        ..History::default()
    };
    let mut reading = Reading {
        reader,
        codec,
        shared,
        history,
        parts: Parts::new(keys),
        silence,
        out: Comparisons::reporting_to(how.found.clone()),
        how,
    };
    reading.spill(&mut transactions).await?;
    let verified = reading.compare(&mut transactions, orders).await?;
    for (service, transaction) in ServiceName::ALL.into_iter().zip(transactions) {
        said(silence, service, transaction.rollback()).await?;
    }
    for (service, connection) in ServiceName::ALL.into_iter().zip(connections) {
        said(silence, service, connection.close()).await?;
    }
    Ok(verified)
}

struct Reading<'a> {
    reader: Reader,
    codec: &'a Codec,
    /// What every part of the comparison needs.
    shared: Snapshot,
    /// Ranges and schemas; the records that positions and dead letters name; causes in other parts.
    history: History,
    parts: Parts,
    /// How long a database may say nothing.
    silence: Duration,
    out: Comparisons,
    how: How,
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
        let causes = loop {
            match self.reader.causes_of_stock(&self.history.ranges).await {
                Ok(causes) => break causes,
                Err(error) => self.leave_out(error.downcast()?),
            }
        };
        let records: i64 = self.history.ranges.values().map(|range| range.high - range.low).sum();
        let progress = progress("records read", records);
        let named = self.shared.named_places(self.codec.topics());
        let mut inboxes: Vec<Inbox<'_>> = Vec::new();
        for ((number, service), conn) in (0_u8..).zip(ServiceName::ALL).zip(transactions.iter_mut()) {
            inboxes.push(Inbox::open((number, service), conn, self.silence).await?);
        }
        let mut pieces = self.reader.stream(&self.history.ranges);
        let (positions, mut last) = (self.shared.positions(self.codec.topics()), Vec::new());
        let mut before: Option<Record> = None;
        while let Some(piece) = pieces.recv().await {
            let piece = match piece.map_err(anyhow::Error::downcast::<Stalled>) {
                Ok(piece) => piece,
                Err(stalled) => {
                    self.leave_out(stalled?);
                    continue;
                }
            };
            progress.inc(piece.len() as u64);
            for record in piece {
                last.extend(before.take_if(|before| is_last(&positions, before, Some(&record))));
                let name = self.codec.topics().name(record.place.topic);
                let order_id = record.order_id();
                for inbox in &mut inboxes {
                    inbox.at(&name, record.place, order_id, self).await?;
                }
                if named.contains(&record.place) {
                    self.history.records.push(record.clone());
                }
                if record.claimed_id().is_some_and(|id| causes.contains(&id)) {
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
        for ((number, service), conn) in (0_u8..).zip(ServiceName::ALL).zip(transactions.iter_mut()) {
            let mut messages = std::pin::pin!(delivery::messages(conn));
            while let Some(row) = said(self.silence, service, messages.try_next()).await? {
                let is_stock =
                    self.codec.topics().parse(&row.topic).is_none_or(|topic| topic == Topic::Stock);
                let subject = row.subject.as_deref().filter(|_| !is_stock);
                let order_id = subject.and_then(|subject| Uuid::parse_str(subject).ok());
                self.parts.add(order_id, &Entry::Message(number, Box::new(row)))?;
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    /// Leaves out partitions that could be read when their offsets were asked for, and can't any more.
    fn leave_out(&mut self, stalled: Stalled) {
        let reason = stalled.to_string();
        for at in stalled.partitions {
            self.history.leave_out(at, reason.clone());
        }
    }

    /// Compares part by part, then the whole.
    async fn compare(
        mut self,
        transactions: &mut [Transaction<'_, Postgres>],
        expected: i64,
    ) -> anyhow::Result<Verified> {
        let mut totals = Totals::default();
        let mut done = 0;
        let (mut open, mut size) = (self.how.keeps_open.then(Open::new), 0);
        let progress = progress("orders compared", expected);
        for (at, keys) in self.parts.ranges().to_vec().into_iter().enumerate() {
            let mut snapshot = self.shared.without_rows();
            let history = self.take(at, &mut snapshot).await?;
            for (service, conn) in ServiceName::ALL.into_iter().zip(transactions.iter_mut()) {
                said(self.silence, service, snapshot.read_orders(service, conn, &keys)).await?;
            }
            snapshot.retain_orders(&|id| !self.history.unread.has_order(*id));
            let case = Case::new(self.codec.topics(), &history, &snapshot);
            checks::keys(&case, &mut self.out);
            checks::orders(&case, &mut totals, &mut self.out);
            let compared = case.orders.len();
            progress.inc(compared as u64);
            let is_open = |id: &Uuid| !case.is_done(*id);
            let ids: BTreeSet<Uuid> = case.orders.keys().copied().filter(is_open).collect();
            done += (compared - ids.len()) as u64;
            for record in history.records {
                if let (Some(open), Some(id)) = (&mut open, record.order_id().filter(|id| ids.contains(id))) {
                    size += record.size();
                    open.entry(id).or_default().push(record);
                }
            }
            open = open.filter(|_| size <= OPEN_BYTES);
        }
        progress.finish_and_clear();
        let mut snapshot = self.shared.without_rows();
        let history = self.take(self.parts.ranges().len(), &mut snapshot).await?;
        snapshot.inventory = self.shared.inventory.clone();
        snapshot.analytics = self.shared.analytics.clone();
        let case = Case::new(self.codec.topics(), &history, &snapshot);
        checks::keys(&case, &mut self.out);
        let sums = totals.sums();
        checks::skus(&case, &sums, &mut self.out);

        let mut history = std::mem::take(&mut self.history);
        history.causes.clear();
        history.records.sort_by_key(|record| record.place);
        history.records.dedup_by_key(|record| record.place);
        history.records.retain(|record| !history.unread.has(record.place.at()));
        self.decode(&mut history.records).await?;
        let case = Case::new(self.codec.topics(), &history, &self.shared);
        checks::whole(&case, &sums, self.how.failures, &mut self.out);
        Ok(Verified {
            is_quiet: case.is_quiet(),
            done,
            report: self.out.into_report(),
            totals,
            offsets: Offsets { ranges: history.ranges, unread: history.unread },
            mails: self.shared.notification.without_rows(),
            open,
        })
    }

    /// What a part has got, decoded: its records as a history, its rows in `snapshot`.
    async fn take(&mut self, at: usize, snapshot: &mut Snapshot) -> anyhow::Result<History> {
        let mut history = History {
            ranges: self.history.ranges.clone(),
            unread: self.history.unread.clone(),
            schemas: self.history.schemas.clone(),
            causes: if at == self.parts.ranges().len() { self.history.causes.clone() } else { Vec::new() },
            ..History::default()
        };
        for entry in self.parts.take(at)? {
            match entry {
                Entry::Record(record) if history.unread.has(record.place.at()) => {}
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

fn progress(what: &'static str, of: i64) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(of).unwrap_or_default());
    let style = ProgressStyle::with_template("{msg} {human_pos} of {human_len}, {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(what)
}

/// What an inbox says of the records, read beside them.
struct Inbox<'c> {
    number: u8,
    service: ServiceName,
    rows: InboxRows<'c>,
    next: Option<InboxRow>,
    silence: Duration,
}

impl<'c> Inbox<'c> {
    async fn open(
        (number, service): (u8, ServiceName),
        conn: &'c mut PgConnection,
        silence: Duration,
    ) -> anyhow::Result<Self> {
        let rows = Box::pin(delivery::events(conn));
        let mut inbox = Self { number, service, rows, next: None, silence };
        inbox.advance().await?;
        Ok(inbox)
    }

    async fn advance(&mut self) -> anyhow::Result<Option<InboxRow>> {
        let next = said(self.silence, self.service, self.rows.try_next()).await?;
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
        let topic = reading.codec.topics().parse(&row.topic);
        let is_left_out = topic.is_some_and(|topic| reading.history.unread.has((topic, row.partition)));
        // Dead letters are compared as a whole.
        if row.outcome != "applied" {
            let delivery = reading.shared.delivery.entry(self.service).or_default();
            delivery.events.insert(row.event_id, row.clone());
        }
        if is_left_out { Ok(()) } else { reading.parts.add(order_id, &Entry::Inbox(self.number, row)) }
    }
}
