//! G2, G6: each record's key, partition, headers and schema, against the event that it holds.

use std::collections::{BTreeMap, BTreeSet};

use chrono::SecondsFormat;
use contracts::AnyEvent;
use contracts::order::CancellationReason;
use contracts::topics::Topic;
use messaging::partition_for_key;
use uuid::Uuid;

use crate::services::ServiceName;
use crate::verify::case::Case;
use crate::verify::check::Check;
use crate::verify::history::{Record, Seen};
use crate::verify::report::Comparisons;
use crate::verify::subscriptions;

/// Headers that each record has, and that its event determines.
const CORRELATION_ID: &str = "ce_correlationid";
const CAUSATION_ID: &str = "ce_causationid";
const USER_ID: &str = "ce_userid";
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// Compares each record with itself and its cause.
pub(super) fn check(case: &Case<'_>, out: &mut Comparisons) {
    for record in &case.history.records {
        if let Some(what) = describe(record) {
            out.note(what);
        }
        match &record.event {
            Ok(event) => {
                key(case, record, event, out);
                headers(case, record, event, out);
                schema(case, record, event, out);
                foreign(record, record.seen_by(&[event.event_type()]) == Seen::Event(event), out);
            }
            Err(_) => foreign(record, false, out),
        }
    }
}

fn key(case: &Case<'_>, record: &Record, event: &AnyEvent, out: &mut Comparisons) {
    let key = event.key();
    let id = format!("event {} of {key} at {}", event.event_id(), record.place);
    out.same(Check::Keys, &id, "the record's key", &record.key.as_deref(), &Some(key.as_bytes()));
    let partitions = case.history.partitions(record.place.topic).max(1);
    let expected = partition_for_key(key.as_bytes(), partitions);
    out.same(Check::Keys, &id, "the partition", &record.place.partition, &expected);
}

/// Who publishes on a topic.
const fn publisher(topic: Topic) -> ServiceName {
    match topic {
        Topic::Orders => ServiceName::Order,
        Topic::Reservations | Topic::Stock => ServiceName::Inventory,
        Topic::Payments => ServiceName::Payment,
    }
}

fn headers(case: &Case<'_>, record: &Record, event: &AnyEvent, out: &mut Comparisons) {
    let id = format!("event {} of {} at {}", event.event_id(), event.key(), record.place);
    let expected = BTreeMap::from([
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", event.event_id().to_string()),
        ("ce_type", event.event_type().to_owned()),
        ("ce_source", publisher(record.place.topic).as_str().to_owned()),
        ("ce_time", event.occurred_at().to_rfc3339_opts(SecondsFormat::Micros, true)),
        ("ce_subject", event.key()),
        ("ce_sequence", event.sequence().to_string()),
        ("content-type", "application/avro".to_owned()),
    ]);
    for (name, value) in &expected {
        out.same(Check::Headers, &id, name, &record.header(name), &Some(value.as_str()));
    }
    let mut names = BTreeSet::new();
    for (name, _) in &record.headers {
        let is_known = expected.contains_key(name.as_str())
            || [CORRELATION_ID, CAUSATION_ID, USER_ID].contains(&name.as_str())
            || TRACE.contains(&name.as_str());
        out.holds(Check::Headers, is_known && names.insert(name), || {
            format!("{id}: the header {name} is unknown or stands there twice")
        });
    }
    inherited(case, record, event, &id, out);
}

/// What an event inherits from its cause: the correlation id, who asked, the trace.
fn inherited(case: &Case<'_>, record: &Record, event: &AnyEvent, id: &str, out: &mut Comparisons) {
    let correlation_id = record.header(CORRELATION_ID).and_then(|value| Uuid::parse_str(value).ok());
    let placed = Uuid::parse_str(&event.key()).ok().and_then(|order_id| case.orders.get(&order_id));
    let placed = placed.and_then(|order| order.orders.first());
    if let Some(placed) = placed {
        let expected = placed.record.header(CORRELATION_ID).and_then(|value| Uuid::parse_str(value).ok());
        out.same(Check::Headers, &id, CORRELATION_ID, &correlation_id, &expected);
    }
    out.holds(Check::Headers, correlation_id.is_some(), || format!("{id}: {CORRELATION_ID} is no UUID"));
    let Some(causation_id) = record.header(CAUSATION_ID) else {
        let customer = match event {
            AnyEvent::OrderPlaced(placed) => Some(placed.customer_id.as_str()),
            AnyEvent::OrderCancelled(e) if e.reason == CancellationReason::CustomerRequest => placed
                .and_then(|it| match it.event {
                    AnyEvent::OrderPlaced(placed) => Some(placed.customer_id.as_str()),
                    _ => None,
                }),
            _ => None,
        };
        out.same_hidden(Check::Headers, &id, USER_ID, &record.header(USER_ID), &customer);
        let needs_none = matches!(
            event,
            AnyEvent::OrderPlaced(_) | AnyEvent::OrderCancelled(_) | AnyEvent::StockReplenished(_)
        ) || is_from_raised_threshold(event);
        out.holds(Check::Headers, needs_none, || format!("{id}: {CAUSATION_ID} is missing"));
        return;
    };
    let cause = Uuid::parse_str(causation_id).ok().and_then(|cause| case.events.get(&cause));
    let Some(cause) = cause else {
        if !case.history.is_complete(record) {
            out.not_compared(Check::Headers, format!("{id}: its cause is newer than what was read"));
            return;
        }
        if !case.history.unread.is_empty() {
            out.not_compared(
                Check::Headers,
                format!("{id}: its cause may be in a partition that was not read"),
            );
            return;
        }
        out.violated(Check::Headers, format!("{id}: {CAUSATION_ID} {causation_id} is on no topic"));
        return;
    };
    let is_possible = subscriptions::of(publisher(record.place.topic)).contains(&cause.event.event_type());
    out.holds(Check::Headers, is_possible && cause.event.event_id() != event.event_id(), || {
        format!("{id}: {CAUSATION_ID} names {causation_id}, which can't have led to it")
    });
    for name in [CORRELATION_ID, USER_ID, "tracestate"] {
        out.same_hidden(Check::Headers, &id, name, &record.header(name), &cause.record.header(name));
    }
    out.same(Check::Headers, &id, "the trace's id", &record.trace_id(), &cause.record.trace_id());
}

/// A replenishment may raise the threshold over the level: no event leads to that.
const fn is_from_raised_threshold(event: &AnyEvent) -> bool {
    matches!(event, AnyEvent::StockLevelLow(_))
}

fn schema(case: &Case<'_>, record: &Record, event: &AnyEvent, out: &mut Comparisons) {
    let schema_id = record.schema_id();
    let registered = case.history.schemas.get(&(record.place.topic, event.event_type()));
    let is_registered = schema_id.zip(registered).is_some_and(|(id, registered)| registered.contains(&id));
    out.holds(Check::Schemas, is_registered, || {
        format!(
            "event {} of {} at {}: schema {schema_id:?} is not registered under the subject of {}",
            event.event_id(),
            event.key(),
            record.place,
            event.event_type()
        )
    });
}

/// A record that is no event of ours is a dead letter of each service that subscribes to the type it claims. One that claims to be
/// a type without a subscriber is passed by all.
fn foreign(record: &Record, is_valid: bool, out: &mut Comparisons) {
    let seen = |service: ServiceName| {
        let reads = subscriptions::topics(service).contains(&record.place.topic);
        reads && record.seen_by(subscriptions::of(service)) != Seen::Skipped
    };
    if is_valid || ServiceName::ALL.into_iter().any(seen) {
        out.holds(Check::Foreign, true, String::new);
    } else {
        let (place, claimed) = (record.place, record.header("ce_type").unwrap_or("no type"));
        out.not_compared(
            Check::Foreign,
            format!("the record at {place} claims to be {claimed:.80}, which no service subscribes to"),
        );
    }
}

/// What a record is that is no event of ours.
fn describe(record: &Record) -> Option<String> {
    let what = match (&record.event, &record.value) {
        (_, None) => "a tombstone: no value".to_owned(),
        (Err(reason), _) => format!("no event: {reason}"),
        (Ok(event), _) if record.seen_by(&[event.event_type()]) != Seen::Event(event) => {
            format!("a {} under another type or key", event.event_type())
        }
        (Ok(_), _) => return None,
    };
    Some(format!("the record at {} is {what}", record.place))
}
