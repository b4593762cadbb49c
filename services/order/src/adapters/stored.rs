//! Domain events ⇄ stored JSON: every version ever stored still reads.

use std::fmt;
use std::sync::LazyLock;

use contracts::Cause;
use contracts::upcast::{UpcastError, Upcasters};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::OrderEvent;

/// An event as its row holds it. Its fields may be personal or secret, and are not printed.
#[derive(Clone, PartialEq)]
pub struct StoredEvent {
    pub kind: String,
    pub schema_version: i32,
    pub data: Value,
}

/// An event as its row will hold it. It is not printed either.
#[derive(Clone)]
pub struct NewEvent {
    pub kind: &'static str,
    pub schema_version: i32,
    pub data: Box<RawValue>,
}

impl fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, schema_version, data: _ } = self;
        f.debug_struct("StoredEvent")
            .field("kind", kind)
            .field("schema_version", schema_version)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NewEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, schema_version, data: _ } = self;
        f.debug_struct("NewEvent")
            .field("kind", kind)
            .field("schema_version", schema_version)
            .finish_non_exhaustive()
    }
}

/// A stored event that this release can't read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableEvent {
    /// It can't be brought to the newest shape.
    #[error(transparent)]
    Upcast(#[from] UpcastError),
    /// It does not have the newest shape afterwards.
    #[error("a stored {kind} can't be read")]
    Shape {
        kind: String,
        #[source]
        source: serde_json::Error,
    },
}

impl UnreadableEvent {
    /// Whether a newer release may have written it: its type or version is not known here.
    pub fn is_newer(&self) -> bool {
        match self {
            Self::Upcast(UpcastError::UnknownType { .. }) => true,
            Self::Upcast(UpcastError::UnknownVersion { version, newest, .. }) => version > newest,
            Self::Upcast(UpcastError::MissingStep { .. } | UpcastError::Failed { .. })
            | Self::Shape { .. } => false,
        }
    }
}

/// The newest shape of every event, and the steps that lead there. Whoever changes what an event serializes to
/// raises its version here, writes the step, and keeps the old golden file.
static SHAPES: LazyLock<Upcasters> = LazyLock::new(|| {
    Upcasters::new()
        .newest("OrderPlaced", 2)
        .step("OrderPlaced", 1, order_placed_in_minor_units)
        .newest("DeadlineScheduled", 1)
        .newest("StockReservationRecorded", 1)
        .newest("OrderConfirmed", 1)
        .newest("OrderCancelled", 1)
        .newest("LatePaymentRecorded", 1)
        .newest("LateDeclineRecorded", 1)
        .newest("LateStockRejectionRecorded", 1)
});

/// The event in its newest shape.
///
/// # Errors
/// When it was not declared above.
pub fn store(event: &OrderEvent) -> Result<NewEvent, UnreadableEvent> {
    /// Without a copy of its content in between.
    #[derive(Deserialize)]
    struct Tagged {
        data: Box<RawValue>,
    }
    let kind = event.name();
    let version = SHAPES
        .newest_version(kind)
        .and_then(|version| i32::try_from(version).ok())
        .ok_or_else(|| UpcastError::UnknownType { event_type: kind.to_owned() })?;
    match serde_json::to_string(event).and_then(|tagged| serde_json::from_str(&tagged)) {
        Ok(Tagged { data }) => Ok(NewEvent { kind, schema_version: version, data }),
        Err(source) => Err(UnreadableEvent::Shape { kind: kind.to_owned(), source }),
    }
}

/// The event, brought up to the newest shape on the way.
///
/// # Errors
/// When the type or version is unknown, or the data does not fit it.
pub fn read(stored: StoredEvent) -> Result<OrderEvent, UnreadableEvent> {
    let StoredEvent { kind, schema_version, data } = stored;
    let data = SHAPES.upcast(&kind, u32::try_from(schema_version).unwrap_or(0), data)?;
    serde_json::from_value(json!({ "type": kind, "data": data }))
        .map_err(|source| UnreadableEvent::Shape { kind, source })
}

/// Version 1 has prices as decimal text in US dollars, the only currency there was: `items` with `price: "2.55"`.
/// Version 2 has `lines` in minor units of a `currency`.
fn order_placed_in_minor_units(mut data: Value) -> Result<Value, String> {
    let fields = data.as_object_mut().ok_or("no fields")?;
    let Some(Value::Array(items)) = fields.remove("items") else {
        return Err("items are missing".to_owned());
    };
    let lines: Result<Vec<Value>, String> = items
        .into_iter()
        .map(|mut item| {
            let line = item.as_object_mut().ok_or("an item has no fields")?;
            let price = line.remove("price").ok_or("a price is missing")?;
            let minor = price.as_str().and_then(cents).ok_or_else(|| format!("{price} is no price"))?;
            line.insert("unit_price_minor".to_owned(), json!(minor));
            Ok(item)
        })
        .collect();
    let total = fields.remove("total").ok_or("the total is missing")?;
    let total_minor = total.as_str().and_then(cents).ok_or_else(|| format!("{total} is no amount"))?;
    fields.insert("lines".to_owned(), Value::Array(lines?));
    fields.insert("total_minor".to_owned(), json!(total_minor));
    fields.insert("currency".to_owned(), json!("USD"));
    Ok(data)
}

/// `12.5` and `12.50` are 1250 cents; more than two decimals are no amount.
fn cents(amount: &str) -> Option<i64> {
    let (whole, decimals) = amount.split_once('.').unwrap_or((amount, ""));
    if decimals.len() > 2 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let cents: i64 = format!("{decimals:0<2}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(cents)
}

/// What is stored beside an event: its identity, and why it happened.
#[derive(Serialize)]
pub struct Metadata<'a> {
    event_id: Uuid,
    correlation_id: Uuid,
    causation_id: Option<Uuid>,
    user_id: Option<&'a str>,
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
}

impl<'a> Metadata<'a> {
    pub fn new(event_id: Uuid, cause: &'a Cause) -> Self {
        Self {
            event_id,
            correlation_id: cause.correlation_id,
            causation_id: cause.causation_id,
            user_id: cause.user_id.as_deref(),
            traceparent: cause.trace.traceparent.as_deref(),
            tracestate: cause.trace.tracestate.as_deref(),
        }
    }
}
