//! Corruptions of records: for every kind of event each field of its value, each header, its key, its partition and its schema;
//! a record lost, repeated with other content, emptied, or replaced by bytes that are no event.

use std::collections::BTreeSet;

use contracts::{AnyEvent, Codec, Event};
use serde_json::Value;
use tidings::verify::history::{History, Record};
use uuid::Uuid;

/// A history in which one record is another one.
#[derive(Debug)]
pub struct Corruption {
    /// The event's type, with the field or header.
    pub what: String,
    /// What is done.
    pub how: &'static str,
    /// The record, or what comes in its place; none where it is lost.
    pub replaced: Vec<Record>,
    /// Where it stands in the history.
    pub at: usize,
}

/// The first record of each kind of event.
pub fn kinds(history: &History) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let is_new = |record: &Record| match &record.event {
        Ok(event) => seen.insert(event.event_type()),
        Err(_) => false,
    };
    let mut is_new = is_new;
    (0..history.records.len()).filter(|at| is_new(&history.records[*at])).collect()
}

/// Every corruption of one record.
pub fn corruptions(history: &History, at: usize, codec: &Codec) -> Vec<Corruption> {
    let record = &history.records[at];
    let Ok(event) = &record.event else { return Vec::new() };
    let name = event.event_type().to_owned();
    let mut corruptions = Vec::new();
    let mut add = |what: String, how: &'static str, replaced: Vec<Record>| {
        corruptions.push(Corruption { what, how, replaced, at });
    };
    add(name.clone(), "lose", Vec::new());
    let key = |key: Option<&[u8]>| Record { key: key.map(<[u8]>::to_vec), ..record.clone() };
    add(format!("{name} key"), "change", vec![key(Some(b"another"))]);
    add(format!("{name} key"), "null", vec![key(None)]);
    let mut moved = record.clone();
    moved.place.partition = (moved.place.partition + 1) % 6;
    moved.place.offset += 1_000_000;
    add(format!("{name} partition"), "change", vec![moved]);
    let no_event =
        |value: Option<Vec<u8>>| Record { value, event: Err("corrupted".to_owned()), ..record.clone() };
    add(name.clone(), "empty", vec![no_event(None)]);
    add(name.clone(), "nonsense", vec![no_event(Some(b"nonsense".to_vec()))]);
    let schema = |id: u32| {
        let mut value = record.value.clone().unwrap_or_default();
        value.splice(1..5, id.to_be_bytes());
        Record { value: Some(value), ..record.clone() }
    };
    add(format!("{name} schema id"), "change", vec![schema(999_999)]);
    for (position, (header, value)) in record.headers.iter().enumerate() {
        let what = format!("{name} header {header}");
        let mut without = record.clone();
        without.headers.remove(position);
        add(what.clone(), "remove", vec![without]);
        let mut changed = record.clone();
        changed.headers[position].1 = other_header(header, value);
        add(what.clone(), "change", vec![changed]);
        let mut twice = record.clone();
        twice.headers.push((header.clone(), value.clone()));
        add(what, "double", vec![twice]);
    }
    let mut more = record.clone();
    more.headers.push(("x-more".to_owned(), b"x".to_vec()));
    add(format!("{name} header"), "add", vec![more]);
    for (field, other) in fields(event) {
        let Ok(value) = codec.encode(&other) else { continue };
        let changed = Record { value: Some(value), event: Ok(other), ..record.clone() };
        add(format!("{name}.{field}"), "change", vec![changed.clone()]);
        // A second record of the same event must be the same.
        if field == "sequence" {
            let mut again = changed;
            again.place.offset += 1_000_000;
            add(name.clone(), "repeat with other content", vec![record.clone(), again]);
        }
    }
    corruptions
}

/// Another value that a header may well have.
fn other_header(header: &str, value: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(value);
    if Uuid::parse_str(&text).is_ok() {
        return other_uuid(&text).into_bytes();
    }
    match header {
        "traceparent" => text.replacen(|letter: char| letter.is_ascii_hexdigit() && letter != '0', "0", 1),
        "ce_type" if text == contracts::order::OrderConfirmed::TYPE => {
            contracts::order::OrderCancelled::TYPE.to_owned()
        }
        "ce_type" => contracts::order::OrderConfirmed::TYPE.to_owned(),
        "ce_source" if text == "analytics" => "order".to_owned(),
        "ce_source" => "analytics".to_owned(),
        _ => format!("x{text}"),
    }
    .into_bytes()
}

fn other_uuid(text: &str) -> String {
    let last = if text.ends_with('0') { '1' } else { '0' };
    let mut text = text.to_owned();
    text.pop();
    text.push(last);
    text
}

/// The event once for each of its fields, with that field changed.
fn fields(event: &AnyEvent) -> Vec<(String, AnyEvent)> {
    macro_rules! each {
        ($($variant:ident),*) => {
            match event {
                $(AnyEvent::$variant(event) => changed(event, |changed| AnyEvent::$variant(changed)),)*
            }
        };
    }
    each!(
        OrderPlaced,
        OrderConfirmed,
        OrderCancelled,
        StockReserved,
        StockReleased,
        StockRejected,
        PaymentCompleted,
        PaymentDeclined,
        PaymentRefunded,
        StockReplenished,
        StockLevelLow,
        StockLevelRestored
    )
}

fn changed<E: serde::Serialize + serde::de::DeserializeOwned>(
    event: &E,
    any: impl Fn(E) -> AnyEvent,
) -> Vec<(String, AnyEvent)> {
    let Ok(value) = serde_json::to_value(event) else { return Vec::new() };
    let mut changed = Vec::new();
    for pointer in pointers(&value, "") {
        let Some(leaf) = value.pointer(&pointer) else { continue };
        let other = others(leaf).into_iter().find_map(|other| {
            let mut value = value.clone();
            *value.pointer_mut(&pointer)? = other;
            serde_json::from_value(value).ok()
        });
        if let Some(other) = other {
            changed.push((pointer.trim_start_matches('/').replace('/', "."), any(other)));
        }
    }
    changed
}

fn pointers(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| pointers(value, &format!("{at}/{name}"))).collect()
        }
        Value::Array(items) => {
            items.first().map(|item| pointers(item, &format!("{at}/0"))).unwrap_or_default()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![at.to_owned()],
    }
}

/// Other values for a leaf, the first of which that its type takes is used.
fn others(leaf: &Value) -> Vec<Value> {
    match leaf {
        Value::Number(number) => vec![Value::from(number.as_i64().unwrap_or_default() + 1)],
        Value::Bool(is) => vec![Value::Bool(!is)],
        Value::String(text) if Uuid::parse_str(text).is_ok() => vec![Value::String(other_uuid(text))],
        Value::String(text) => {
            let other_reason = if text == "timed_out" { "out_of_stock" } else { "timed_out" };
            let later = format!("{}9-01-01T00:00:00Z", text.get(..3).unwrap_or("202"));
            vec![
                Value::String(format!("x{text}")),
                Value::String(later),
                Value::String(other_reason.to_owned()),
            ]
        }
        Value::Null | Value::Array(_) | Value::Object(_) => vec![Value::String("x".to_owned())],
    }
}
