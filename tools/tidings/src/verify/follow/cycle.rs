//! A cycle of the scrub: every order once more, at a set rate.
//!
//! It reads the topics up to the ends of one moment into temporary files, by range of order ids. Then each range is compared with
//! rows of the moment in which its turn comes, so that no snapshot is held for long; orders that are open or have got a record
//! since are left to the rounds. At last comes what belongs to no order, a service at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use contracts::Topic;
use messaging::KafkaConfig;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::Scrub;
use super::moment::Moment;
use crate::services::ServiceName;
use crate::verify::case::Case;
use crate::verify::checks;
use crate::verify::databases::Snapshot;
use crate::verify::delivery::{self, Delivery};
use crate::verify::failures::Failures;
use crate::verify::history::Record;
use crate::verify::report::Comparisons;
use crate::verify::rows::order;
use crate::verify::spill::{Entry, Parts};
use crate::verify::stream::Open;
use crate::verify::sums::Sums;
use crate::verify::topics::{self, Ranges, Reader};
use crate::verify::totals::Totals;
use crate::verify::unread::Unread;

/// The part of a cycle in which the topics are read.
const READING: f64 = 0.2;
/// How much of a round it takes at most, but for what can't be divided.
const AT_ONCE: Duration = Duration::from_millis(500);

/// A cycle under way.
pub(super) struct Cycle {
    pub(super) progress: Scrub,
    reader: Reader,
    begun: Instant,
    /// Where the topics ended when it began.
    ranges: Ranges,
    /// Partitions that are left out.
    unread: Unread,
    /// The rest of the topics; none when they are read.
    pieces: Option<mpsc::Receiver<anyhow::Result<Vec<Record>>>>,
    records: usize,
    parts: Parts,
    /// The next part.
    at: usize,
    /// Orders that got a record since it began.
    changed: BTreeSet<Uuid>,
    skus_compared: bool,
    /// Those whose positions and dead letters are still to be compared.
    services: Vec<ServiceName>,
    /// What led to stock's events.
    causes: BTreeSet<Uuid>,
    cause_records: Vec<Record>,
}

impl Cycle {
    /// Begins with the ends of this moment.
    ///
    /// # Errors
    /// When order's database or the broker can't be read.
    pub(super) async fn begin(
        number: u64,
        rate: u32,
        kafka: &KafkaConfig,
        moment: &mut Moment<'_, '_>,
    ) -> anyhow::Result<Self> {
        let reader = Reader::new(kafka, moment.codec.topics())?;
        let (orders, keys) = order::ranges(&mut moment.transactions[0]).await?;
        let causes = reader.causes_of_stock(&moment.ranges).await?;
        let progress = Scrub {
            cycle: number,
            orders: u64::try_from(orders)?,
            cycle_seconds: orders as f64 / f64::from(rate),
            completed: number - 1,
            last_cycle_seconds: None,
            compared: 0,
        };
        Ok(Self {
            progress,
            pieces: Some(reader.stream(&moment.ranges)),
            reader,
            begun: Instant::now(),
            ranges: moment.ranges.clone(),
            unread: moment.unread.clone(),
            records: 0,
            parts: Parts::new(keys),
            at: 0,
            changed: BTreeSet::new(),
            skus_compared: false,
            services: ServiceName::ALL.to_vec(),
            causes,
            cause_records: Vec::new(),
        })
    }

    /// Orders that got a record: rounds compare them.
    pub(super) fn changed(&mut self, orders: &BTreeSet<Uuid>) {
        self.changed.extend(orders);
    }

    /// Whether it reads the partitions that can be read at this moment.
    pub(super) fn is_of(&self, moment: &Moment<'_, '_>) -> bool {
        self.unread.is_same(&moment.unread)
    }

    /// Goes on as far as the rate allows; gives whether the cycle is complete.
    ///
    /// # Errors
    /// When something can't be read. The cycle is over then.
    pub(super) async fn step(
        &mut self,
        moment: &mut Moment<'_, '_>,
        open: &Open,
        sums: &Sums,
        out: &mut Comparisons,
    ) -> anyhow::Result<bool> {
        let until = Instant::now() + AT_ONCE;
        while Instant::now() < until {
            if self.pieces.is_some() {
                self.read(until).await?;
                if self.pieces.is_some() {
                    break;
                }
            } else if self.at < self.parts.ranges().len() {
                if !self.may_compare() {
                    break;
                }
                self.compare(moment, open, out).await?;
            } else if !self.skus_compared {
                self.compare_skus(moment, sums, out).await?;
                self.skus_compared = true;
            } else if let Some(service) = self.services.pop() {
                self.compare_delivery(service, moment, out).await?;
            } else {
                compare_rest(moment, sums, out).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the rate allows the next range.
    fn may_compare(&self) -> bool {
        let compared = self.progress.compared as f64 / self.progress.orders.max(1) as f64;
        READING + (1.0 - READING) * compared <= self.part_of_time()
    }

    /// How long it has taken so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How much of the cycle's time has passed.
    fn part_of_time(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() / self.progress.cycle_seconds.max(f64::EPSILON)
    }

    async fn read(&mut self, until: Instant) -> anyhow::Result<()> {
        let all: i64 = self.ranges.values().map(|range| range.high - range.low).sum();
        let may_read = |cycle: &Self| cycle.records as f64 <= all as f64 * cycle.part_of_time() / READING;
        while may_read(self) && Instant::now() < until {
            let Some(pieces) = &mut self.pieces else { break };
            let Some(piece) = pieces.recv().await else {
                self.pieces = None;
                break;
            };
            for record in piece? {
                self.records += 1;
                if record.claimed_id().is_some_and(|id| self.causes.contains(&id)) {
                    self.cause_records.push(record.clone());
                }
                self.parts.add(record.order_id(), &Entry::Record(Box::new(record)))?;
            }
        }
        Ok(())
    }

    async fn compare(
        &mut self,
        moment: &mut Moment<'_, '_>,
        open: &Open,
        out: &mut Comparisons,
    ) -> anyhow::Result<()> {
        let keys = self.parts.ranges()[self.at].clone();
        let changed = &self.changed;
        let unread = &self.unread;
        let is_wanted = |id: &Uuid| !changed.contains(id) && !open.contains_key(id) && !unread.has_order(*id);
        let mut records = records(&mut self.parts, self.at)?;
        let orders: BTreeSet<Uuid> = records.iter().filter_map(Record::order_id).collect();
        records.retain(|record| record.order_id().is_some_and(|id| is_wanted(&id)));
        decode(moment, &mut records).await?;
        let snapshot = moment.rows(&keys, &is_wanted, &records).await?;
        let history = moment.history(records);
        let case = Case::new(moment.codec.topics(), &history, &snapshot);
        checks::keys(&case, out);
        checks::orders(&case, &mut Totals::default(), out);
        self.progress.compared += orders.len() as u64;
        self.at += 1;
        Ok(())
    }

    /// Compares SKUs, and records that name no order.
    async fn compare_skus(
        &mut self,
        moment: &mut Moment<'_, '_>,
        sums: &Sums,
        out: &mut Comparisons,
    ) -> anyhow::Result<()> {
        let mut snapshot = moment.base.without_rows();
        (snapshot.inventory, snapshot.analytics) =
            (moment.base.inventory.clone(), moment.base.analytics.clone());
        for (service, conn) in ServiceName::ALL.into_iter().zip(moment.transactions.iter_mut()) {
            if service == ServiceName::Inventory {
                snapshot.read_rest(service, conn).await?;
            }
        }
        let mut records = records(&mut self.parts, self.at)?;
        records.retain(|record| record.place.topic != Topic::Stock);
        decode(moment, &mut records).await?;
        records.extend(self.reader.records(moment.codec, &topics::of_stock(&moment.ranges)).await?);
        let mut history = moment.history(records);
        for (at, range) in history.ranges.iter_mut().filter(|((topic, _), _)| *topic == Topic::Stock) {
            // What led to later ones was not kept.
            range.complete = range.complete.min(self.ranges.get(at).map_or(range.low, |range| range.high));
        }
        history.causes = std::mem::take(&mut self.cause_records);
        decode(moment, &mut history.causes).await?;
        moment.add_delivery(&mut snapshot, &history.records).await?;
        let case = Case::new(moment.codec.topics(), &history, &snapshot);
        checks::keys(&case, out);
        checks::skus(&case, sums, out);
        Ok(())
    }

    /// Compares one service's outbox, positions and dead letters.
    async fn compare_delivery(
        &self,
        service: ServiceName,
        moment: &mut Moment<'_, '_>,
        out: &mut Comparisons,
    ) -> anyhow::Result<()> {
        let mut whole = Snapshot::default();
        for (other, conn) in ServiceName::ALL.into_iter().zip(moment.transactions.iter_mut()) {
            if let Some(base) = moment.base.delivery.get(&other).filter(|_| other == service) {
                let rows = delivery::not_applied(conn).await;
                let rows = rows.with_context(|| format!("reading {}", service.database()))?;
                let events = rows.into_iter().map(|row| (row.event_id, row)).collect();
                whole.delivery.insert(service, Delivery { events, ..base.clone() });
            }
        }
        let topics = moment.codec.topics();
        let (mut places, mut positions) = (whole.named_places(topics), whole.positions(topics));
        places.extend(whole.last_records(topics));
        places.retain(|place| !moment.unread.has(place.at()));
        positions.retain(|at, _| !moment.unread.has(*at));
        let named = self.reader.records_at(moment.codec, &places, &positions).await?;
        let named: BTreeMap<_, _> = named.into_iter().map(|record| (record.place, record)).collect();
        let history = moment.history(named.into_values().collect());
        checks::delivery(&Case::new(topics, &history, &whole), Failures::Listed, out);
        Ok(())
    }
}

/// Compares what belongs to no order, no SKU and no delivery.
async fn compare_rest(moment: &mut Moment<'_, '_>, sums: &Sums, out: &mut Comparisons) -> anyhow::Result<()> {
    let mut whole = moment.base.clone();
    for (service, conn) in ServiceName::ALL.into_iter().zip(moment.transactions.iter_mut()) {
        if [ServiceName::Payment, ServiceName::Analytics].contains(&service) {
            whole.read_rest(service, conn).await?;
        }
    }
    let history = moment.history(Vec::new());
    checks::rest(&Case::new(moment.codec.topics(), &history, &whole), sums, Failures::Listed, out);
    Ok(())
}

fn records(parts: &mut Parts, at: usize) -> anyhow::Result<Vec<Record>> {
    let record = |entry| match entry {
        Entry::Record(record) => Some(*record),
        Entry::Inbox(..) | Entry::Message(..) => None,
    };
    Ok(parts.take(at)?.into_iter().filter_map(record).collect())
}

async fn decode(moment: &Moment<'_, '_>, records: &mut [Record]) -> anyhow::Result<()> {
    for record in records {
        record.event = topics::decode(moment.codec, record.place.topic, record.value.as_deref()).await?;
    }
    Ok(())
}
