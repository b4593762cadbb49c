//! G5: every event on a topic was processed, is a dead letter, was discarded, has no subscriber, or is still pending.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use contracts::Topic;

use crate::services::ServiceName;
use crate::verify::case::Case;
use crate::verify::check::Check;
use crate::verify::delivery::{Delivery, InboxRow};
use crate::verify::fates::{self, Fate};
use crate::verify::history::{Place, Range, Record, Seen};
use crate::verify::report::Comparisons;
use crate::verify::subscriptions;

/// Follows the records of some keys into every service that subscribes to them.
pub(super) fn keys(case: &Case<'_>, out: &mut Comparisons) {
    let records: HashMap<Place, &Record> =
        case.history.records.iter().map(|record| (record.place, record)).collect();
    for (service, delivery) in &case.snapshot.delivery {
        let rows: HashMap<Place, &InboxRow> =
            delivery.events.values().filter_map(|row| Some((place(case, row)?, row))).collect();
        for record in &case.history.records {
            if subscriptions::topics(*service).contains(&record.place.topic) {
                fate(case, *service, delivery, record, &rows, out);
            }
        }
        for (id, row) in &delivery.events {
            inbox_row(case, *service, delivery, (*id, row), &records, out);
        }
    }
}

/// Compares the positions with the records that stand before them.
pub(super) fn whole(case: &Case<'_>, out: &mut Comparisons) {
    let mut last: BTreeMap<(Topic, i32), BTreeMap<i64, &Record>> = BTreeMap::new();
    for record in &case.history.records {
        let place = record.place;
        last.entry((place.topic, place.partition)).or_default().insert(place.offset, record);
    }
    for (service, delivery) in &case.snapshot.delivery {
        let behind = case.records_behind(*service);
        if behind > 0 {
            out.not_compared(Check::Fates, format!("{service} is {behind} records behind"));
        }
        for (name, partition) in delivery.positions.keys() {
            let topic = case.topics.parse(name);
            let is_there = topic.is_some_and(|topic| {
                let at = (topic, *partition);
                case.history.ranges.contains_key(&at) || case.history.unread.has(at)
            });
            out.holds(Check::Positions, is_there, || {
                format!("{service} has a position in {}/{partition}, which is not there", short(name))
            });
        }
        for ((topic, partition), range) in &case.history.ranges {
            if subscriptions::topics(*service).contains(topic) {
                let name = case.topics.name(*topic);
                let next = delivery.next_offset(&name, *partition).unwrap_or(range.low);
                let records = last.get(&(*topic, *partition));
                let last = records.and_then(|records| records.range(..next).next_back());
                let at = (name.as_str(), *topic, *partition, *range);
                position(case, (*service, delivery), at, last.map(|(_, record)| *record), out);
            }
        }
    }
}

/// A topic's name without its deployment's prefix.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn place(case: &Case<'_>, row: &InboxRow) -> Option<Place> {
    let topic = case.topics.parse(&row.topic)?;
    Some(Place { topic, partition: row.partition, offset: row.offset })
}

fn fate(
    case: &Case<'_>,
    service: ServiceName,
    delivery: &Delivery,
    record: &Record,
    rows: &HashMap<Place, &InboxRow>,
    out: &mut Comparisons,
) {
    let place = record.place;
    match record.seen_by(subscriptions::of(service)) {
        Seen::Skipped => {}
        Seen::Event(event) => {
            let fate = case.fate(service, event.event_id());
            if fate != Some(Fate::Pending) {
                out.holds(Check::Fates, fate.is_some_and(|fate| fate != Fate::Lost), || {
                    let (id, key) = (event.event_id(), event.key());
                    format!(
                        "{service} passed {} {id} at {place} (key {key}) without applying it or making it a dead letter",
                        event.event_type()
                    )
                });
            }
        }
        Seen::Invalid => {
            let next = delivery.next_offset(&case.topics.name(place.topic), place.partition);
            if next.is_some_and(|next| place.offset < next) {
                let is_handled = rows.get(&place).is_some_and(|row| row.outcome != "applied");
                out.holds(Check::Fates, is_handled, || {
                    format!("{service} passed the record at {place}, which is no event, without making it a dead letter")
                });
            }
        }
    }
}

fn inbox_row(
    case: &Case<'_>,
    service: ServiceName,
    delivery: &Delivery,
    (id, row): (uuid::Uuid, &InboxRow),
    records: &HashMap<Place, &Record>,
    out: &mut Comparisons,
) {
    let subject = format!("{service}'s inbox row of event {id}");
    let Some(place) = place(case, row) else {
        out.violated(Check::InboxRows, format!("{subject} names the topic {}", row.topic));
        return;
    };
    if case.history.unread.has(place.at()) {
        return;
    }
    let Some(record) = records.get(&place) else {
        let is_gone =
            case.history.ranges.get(&(place.topic, place.partition)).is_some_and(|r| place.offset < r.low);
        out.holds(Check::InboxRows, is_gone, || format!("{subject} names {place}, where no record stands"));
        return;
    };
    let is_made = row.outcome != "applied" && record.made_id(&row.topic) == id;
    let is_its_own = match &record.event {
        Ok(event) => {
            event.event_id() == id && subscriptions::of(service).contains(&event.event_type()) || is_made
        }
        Err(_) => is_made,
    };
    out.holds(Check::InboxRows, is_its_own, || {
        format!("{subject} names {place}, where another record stands")
    });
    let next = delivery.next_offset(&row.topic, row.partition);
    out.holds(Check::InboxRows, next.is_some_and(|next| row.offset < next), || {
        format!("{subject} is {} although {service}'s position at {place} is {next:?}", row.outcome)
    });
    let log = delivery.topics.get(&row.topic).map(|topic| topic.log);
    out.same(Check::InboxRows, &subject, "log", &Some(row.log), &log);
    let times = (written_at(record).unwrap_or(row.processed_at), case.taken_at(service));
    case.plausible(out, Check::InboxRows, &subject, "processed_at", row.processed_at, times);
    let open = [Fate::DeadLettered, Fate::Discarded].contains(&fates::of_outcome(&row.outcome));
    out.holds(
        Check::InboxRows,
        !open || row.outcome.contains("discarded") || has_letter(delivery, id),
        || format!("{subject} says {}, and there is no such dead letter", row.outcome),
    );
}

fn has_letter(delivery: &Delivery, id: uuid::Uuid) -> bool {
    delivery.letters.iter().any(|letter| letter.event_id == id)
}

/// The broker's time of a record.
pub(super) fn written_at(record: &Record) -> Option<DateTime<Utc>> {
    record.timestamp_ms.and_then(DateTime::from_timestamp_millis)
}

fn position(
    case: &Case<'_>,
    (service, delivery): (ServiceName, &Delivery),
    (name, topic, partition, range): (&str, Topic, i32, Range),
    last: Option<&Record>,
    out: &mut Comparisons,
) {
    const CHECK: Check = Check::Positions;
    let subject = format!("{service}'s position in {topic}/{partition}");
    let Some(row) = delivery.positions.get(&(name.to_owned(), partition)) else {
        out.not_compared(CHECK, format!("{subject} is not there: it was never assigned the partition"));
        return;
    };
    out.holds(CHECK, (range.low..=range.high).contains(&row.next_offset), || {
        format!("{subject} is {}, the topic has {} to {}", row.next_offset, range.low, range.high)
    });
    out.holds(CHECK, row.stopped_reason.is_none(), || {
        format!("{subject} has stopped: {}", row.stopped_reason.as_deref().unwrap_or_default())
    });
    let log = delivery.topics.get(name).map(|topic| topic.log);
    out.same(CHECK, &subject, "log", &Some(row.log), &log);
    let epochs = (row.reached_epoch, row.topic_epoch, row.topic_partitions);
    out.same(CHECK, &subject, "the epochs", &epochs, &(1, 1, None));
    let offset = last.map(|last| last.place.offset);
    out.same(CHECK, &subject, "last_record_offset", &row.last_record_offset, &offset);
    let digest = last.map(|last| last.digest().to_vec());
    out.holds(CHECK, row.last_record_digest == digest, || {
        format!("{subject}: last_record_digest is not that of the record at offset {offset:?}")
    });
    out.same(CHECK, &subject, "last_record_at", &row.last_record_at, &last.and_then(written_at));
    out.same(CHECK, &subject, "last_record_leader_epoch", &row.last_record_leader_epoch, &None);
    let since = last.and_then(written_at).unwrap_or(DateTime::UNIX_EPOCH);
    case.plausible(out, CHECK, &subject, "updated_at", row.updated_at, (since, case.taken_at(service)));
}
