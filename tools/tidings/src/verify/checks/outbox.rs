//! G1: what a relay has published is on its topic, as the outbox holds it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::SecondsFormat;
use uuid::Uuid;

use crate::services::ServiceName;
use crate::verify::case::Case;
use crate::verify::check::Check;
use crate::verify::delivery::{Delivery, MessageRow};
use crate::verify::history::{Record, trace_id};
use crate::verify::report::Comparisons;

/// Compares messages with the records of their keys.
pub(super) fn keys(case: &Case<'_>, out: &mut Comparisons) {
    let mut records: HashMap<Uuid, &Record> = HashMap::with_capacity(case.history.records.len());
    for record in &case.history.records {
        if let Ok(event) = &record.event {
            records.entry(event.event_id()).or_insert(record);
        }
    }
    for (service, delivery) in &case.snapshot.delivery {
        let mut ids = HashSet::new();
        for row in &delivery.messages {
            let is_new = row.event_id.is_none_or(|id| ids.insert(id));
            out.holds(Check::OutboxMessages, is_new, || {
                format!("{}: it is in the outbox twice", name(*service, row))
            });
            message(case, *service, row, &records, out);
        }
        for row in delivery.unpublished() {
            out.not_compared(Check::OutboxMessages, format!("{} waits to be published", name(*service, row)));
        }
        links(*service, delivery, out);
    }
}

/// Compares what each outbox says of itself.
pub(super) fn whole(case: &Case<'_>, out: &mut Comparisons) {
    for (service, delivery) in &case.snapshot.delivery {
        table_partitions(*service, delivery, out);
        out.holds(Check::BlockedKeys, delivery.blocked_keys.is_empty(), || {
            format!("{service}'s relay has blocked {}", delivery.blocked_keys.join("; "))
        });
    }
}

fn name(service: ServiceName, row: &MessageRow) -> String {
    let (id, event_id) = (row.id, row.event_id.unwrap_or_default());
    let subject = row.subject.as_deref().unwrap_or("no key");
    format!("message {id} of {service} (event {event_id} of {subject})")
}

fn message(
    case: &Case<'_>,
    service: ServiceName,
    row: &MessageRow,
    records: &HashMap<Uuid, &Record>,
    out: &mut Comparisons,
) {
    let id = name(service, row);
    let times = (row.event_time.unwrap_or(row.created_at), case.taken_at(service));
    case.plausible(out, Check::OutboxMessages, &id, "created_at", row.created_at, times);
    if let Some(finished_at) = row.finished_at {
        let times = (row.created_at, case.taken_at(service));
        case.plausible(out, Check::OutboxMessages, &id, "finished_at", finished_at, times);
    }
    if !row.is_published || is_left_out(case, row) {
        return;
    }
    let Some(record) = row.event_id.and_then(|id| records.get(&id)) else {
        out.violated(Check::OutboxMessages, format!("{id} was published and is on no topic"));
        return;
    };
    out.same(Check::OutboxMessages, &id, "topic", &row.topic, &case.topics.name(record.place.topic));
    out.same(Check::OutboxMessages, &id, "key", &row.key, &record.key);
    out.holds(Check::OutboxMessages, row.value == record.value, || {
        format!("{id}: its value is not that of the record at {}", record.place)
    });
    let found: BTreeMap<&str, &[u8]> = record
        .headers
        .iter()
        .filter(|(name, _)| name != "traceparent")
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    let expected = headers(row);
    let names: HashSet<&str> = found.keys().copied().chain(expected.keys().map(String::as_str)).collect();
    for name in names {
        let (stored, published) = (expected.get(name).map(Vec::as_slice), found.get(name).copied());
        out.same_hidden(Check::OutboxMessages, &id, name, &stored, &published);
    }
    // The relay's own span takes the place of the stored one, in the same trace.
    out.same(
        Check::OutboxMessages,
        &id,
        "the trace's id",
        &trace_id(row.traceparent.as_deref()),
        &record.trace_id(),
    );
}

/// Whether the topic's partition with its record was not read.
fn is_left_out(case: &Case<'_>, row: &MessageRow) -> bool {
    let (topic, key) = (case.topics.parse(&row.topic), row.key.as_deref().unwrap_or_default());
    topic.is_some_and(|topic| case.history.unread.has_key(topic, key))
}

/// The headers in which a message travels, but for `traceparent`.
fn headers(row: &MessageRow) -> BTreeMap<String, Vec<u8>> {
    let mut headers = BTreeMap::from([
        ("ce_specversion".to_owned(), b"1.0".to_vec()),
        ("content-type".to_owned(), b"application/avro".to_vec()),
    ]);
    let time = row.event_time.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
    for (name, value) in [
        ("ce_id", row.event_id.map(|id| id.to_string())),
        ("ce_type", row.event_type.clone()),
        ("ce_source", row.source.clone()),
        ("ce_time", time),
        ("ce_subject", row.subject.clone()),
        ("ce_sequence", row.sequence.map(|sequence| sequence.to_string())),
        ("ce_correlationid", row.correlation_id.map(|id| id.to_string())),
        ("ce_causationid", row.causation_id.map(|id| id.to_string())),
        ("ce_userid", row.user_id.clone()),
        ("tracestate", row.tracestate.clone()),
    ] {
        if let Some(value) = value {
            headers.insert(name.to_owned(), value.into_bytes());
        }
    }
    let names = row.header_names.iter().flatten().cloned();
    headers.extend(names.zip(row.header_values.iter().flatten().cloned()));
    headers
}

fn links(service: ServiceName, delivery: &Delivery, out: &mut Comparisons) {
    let mut last: HashMap<(&str, Option<&[u8]>), i64> = HashMap::new();
    let oldest = delivery.tables.first().copied().unwrap_or_default();
    for row in delivery.messages.iter().filter(|row| row.key.is_some()) {
        let before = last.insert((&row.topic, row.key.as_deref()), row.id);
        let follows = match (before, row.previous_id) {
            (Some(before), previous_id) => previous_id == Some(before),
            (None, None) => row.sequence == Some(1),
            // Its predecessor was dropped with its table partition.
            (None, Some(previous_id)) => previous_id < oldest,
        };
        out.holds(Check::OutboxLinks, follows, || {
            let previous_id = row.previous_id;
            format!(
                "{}: it names {previous_id:?} as its predecessor, which is {before:?}",
                name(service, row)
            )
        });
    }
}

fn table_partitions(service: ServiceName, delivery: &Delivery, out: &mut Comparisons) {
    let listed: Vec<i64> = delivery
        .table_partitions
        .iter()
        .filter(|(.., is_dropped)| !is_dropped)
        .map(|(first_id, ..)| *first_id)
        .collect();
    out.same(
        Check::OutboxPartitions,
        &format!("{service}'s outbox"),
        "the list of table partitions",
        &listed,
        &delivery.tables,
    );
    for pair in delivery.table_partitions.windows(2) {
        out.holds(Check::OutboxPartitions, pair[0].1 == pair[1].0, || {
            let (end, first) = (pair[0].1, pair[1].0);
            format!("{service}'s outbox: one table partition ends at {end}, the next begins at {first}")
        });
    }
    let width = |(first_id, end_id, _): &(i64, i64, bool)| end_id - first_id;
    let widths: BTreeSet<i64> = delivery.table_partitions.iter().map(width).collect();
    out.holds(Check::OutboxPartitions, widths.len() == 1, || {
        format!("{service}'s outbox: its table partitions have the widths {widths:?}")
    });
}
