//! An order's event stream, replayed without order's own code.

use chrono::{DateTime, Utc};
use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::{PaymentCompleted, PaymentDeclined};
use contracts::reservation::{StockRejected, StockReserved};
use contracts::{AnyEvent, Event};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::reason_name;
use super::placement;
use crate::services::ServiceName;
use crate::verify::case::{Case, Occurrence, Published};
use crate::verify::check::Check;
use crate::verify::history::{Record, trace_id};
use crate::verify::report::Comparisons;
use crate::verify::rows::order::EventRow;

const CHECK: Check = Check::OrderStreams;

/// What a stream comes to.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    pub(super) placed: &'a OrderPlaced,
    pub(super) correlation_id: Option<Uuid>,
    pub(super) trace_id: Option<String>,
    pub(super) tracestate: Option<String>,
    pub(super) version: i64,
    pub(super) last_sequence: i64,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) status: &'static str,
    pub(super) reason: Option<&'static str>,
    pub(super) detail: Option<String>,
    pub(super) due_at: Option<DateTime<Utc>>,
    pub(super) ended_at: Option<DateTime<Utc>>,
    pub(super) reservation_id: Option<Uuid>,
    pub(super) stock_rejected: bool,
    pub(super) payment_id: Option<Uuid>,
    pub(super) payment_declined: bool,
}

/// The correlation and trace of a published event, from its record or, while it waits, its message.
fn correlation(published: &Published<'_>) -> (Option<Uuid>, Option<String>, Option<String>) {
    if let Some(record) = published.record {
        let correlation_id = record.header("ce_correlationid").and_then(|id| Uuid::parse_str(id).ok());
        let owned = |value: Option<&str>| value.map(str::to_owned);
        return (correlation_id, owned(record.trace_id()), owned(record.header("tracestate")));
    }
    let message = published.message;
    let trace = message.and_then(|row| trace_id(row.traceparent.as_deref()));
    (
        message.and_then(|row| row.correlation_id),
        trace.map(str::to_owned),
        message.and_then(|row| row.tracestate.clone()),
    )
}

/// Compares a stream with what order has published and applied, and says what it comes to.
pub(super) fn check<'a>(
    case: &Case<'a>,
    order_id: Uuid,
    rows: &[EventRow],
    published: &[Published<'a>],
    out: &mut Comparisons,
) -> Option<Stream<'a>> {
    let applied = case.applied(ServiceName::Order, order_id);
    let first = published.iter().find_map(|it| Some((OrderPlaced::from_any(it.event)?, it)));
    let Some((placed, announced)) = first else {
        out.violated(
            CHECK,
            format!("order {order_id} was accepted, and OrderPlaced is neither on the topic nor waits"),
        );
        return None;
    };
    let versions: Vec<i64> = rows.iter().map(|row| row.version).collect();
    out.holds(CHECK, !rows.is_empty() && versions.iter().copied().eq(1..=rows.len() as i64), || {
        format!("order {order_id}: its stream has the versions {versions:?}")
    });
    let (correlation_id, trace_id, tracestate) = correlation(announced);
    let mut replay = Replay {
        out,
        order_id,
        applied: &applied,
        published: published.to_vec(),
        stream: Stream {
            placed,
            correlation_id,
            trace_id,
            tracestate,
            version: versions.last().copied().unwrap_or_default(),
            last_sequence: 0,
            updated_at: placed.occurred_at,
            status: "unplaced",
            reason: None,
            detail: None,
            due_at: None,
            ended_at: None,
            reservation_id: None,
            stock_rejected: false,
            payment_id: None,
            payment_declined: false,
        },
        received: Vec::new(),
    };
    rows.iter().for_each(|row| replay.row(row));
    replay.finish();
    Some(replay.stream)
}

struct Replay<'a, 'o> {
    out: &'o mut Comparisons,
    order_id: Uuid,
    applied: &'o [Occurrence<'a>],
    /// What is published and not yet met in the stream.
    published: Vec<Published<'a>>,
    stream: Stream<'a>,
    /// The facts that led to something.
    received: Vec<Uuid>,
}

impl<'a> Replay<'a, '_> {
    fn check(&mut self, version: i64, holds: bool, what: &str) {
        let order_id = self.order_id;
        self.out.holds(CHECK, holds, || format!("order {order_id}: event {version} of its stream {what}"));
    }

    fn row(&mut self, row: &EventRow) {
        let version = row.version;
        let is_newest = row.schema_version == if row.r#type == "OrderPlaced" { 2 } else { 1 };
        if !is_newest {
            let what = format!(
                "order {}: event {version} is stored as version {}",
                self.order_id, row.schema_version
            );
            self.out.not_compared(CHECK, what);
        }
        self.check(version, row.occurred_at >= self.stream.updated_at, "happened before the one before it");
        self.stream.updated_at = row.occurred_at;
        let is_open = self.stream.status == "placed";
        match row.r#type.as_str() {
            "OrderPlaced" => {
                self.check(version, version == 1, "is a second OrderPlaced");
                self.stream.status = "placed";
                let expected = placement(self.stream.placed);
                self.announced::<OrderPlaced>(row, |_| expected);
            }
            "DeadlineScheduled" => {
                let due_at = row.data["due_at"].as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok());
                let is_so = version == 2 && is_open && due_at.is_some_and(|at| at > row.occurred_at);
                let is_alone = row.data.as_object().is_some_and(|fields| fields.len() == 1);
                self.check(version, is_so && is_alone, "is no deadline of an order just placed");
                self.stream.due_at = due_at;
                self.uncaused(row, true);
            }
            "StockReservationRecorded" => {
                let fact = self.fact::<StockReserved>(row);
                let expected = fact.map(|fact| json!({ "reservation_id": fact.reservation_id }));
                self.check(
                    version,
                    Some(&row.data) == expected.as_ref(),
                    "records another reservation than the event has",
                );
                self.stream.reservation_id = fact.map(|fact| fact.reservation_id);
            }
            "OrderConfirmed" => {
                self.announced::<OrderConfirmed>(row, |event| json!({ "payment_id": event.payment_id }));
                let fact = self.fact::<PaymentCompleted>(row);
                let is_so = row.data == json!({ "payment_id": fact.map(|fact| fact.payment_id) });
                self.check(version, is_open && is_so, "confirms what no payment has confirmed");
                self.stream.payment_id = fact.map(|fact| fact.payment_id);
                self.end(row, "confirmed");
            }
            "OrderCancelled" => self.cancelled(row, is_open),
            "LatePaymentRecorded" => {
                let fact = self.fact::<PaymentCompleted>(row);
                let is_so = row.data == json!({ "payment_id": fact.map(|fact| fact.payment_id) });
                self.check(version, !is_open && is_so, "records a late payment without its event");
                self.stream.payment_id = fact.map(|fact| fact.payment_id);
            }
            "LateDeclineRecorded" => {
                let fact = self.fact::<PaymentDeclined>(row);
                let is_so = row.data == json!({ "payment_id": fact.map(|fact| fact.payment_id) });
                self.check(version, !is_open && is_so, "records a late refusal without its event");
                self.stream.payment_declined = true;
            }
            "LateStockRejectionRecorded" => {
                let is_received = self.fact::<StockRejected>(row).is_some();
                self.check(
                    version,
                    !is_open && is_received && row.data == json!({}),
                    "records a rejection without its event",
                );
                self.stream.stock_rejected = true;
            }
            other => self.check(version, false, &format!("is of the unknown type {other}")),
        }
    }

    fn cancelled(&mut self, row: &EventRow, is_open: bool) {
        let mut reason = None;
        self.announced::<OrderCancelled>(row, |event| {
            let name = reason_name(event.reason);
            reason = Some((name, event.detail.clone()));
            json!({ "reason": name, "detail": event.detail })
        });
        self.check(row.version, is_open, "cancels an order that has ended");
        let Some((name, detail)) = reason else { return };
        match name {
            "out_of_stock" => {
                self.fact::<StockRejected>(row);
                self.stream.stock_rejected = true;
            }
            "payment_declined" => {
                self.fact::<PaymentDeclined>(row);
                self.stream.payment_declined = true;
            }
            other => {
                self.uncaused(row, other == "customer_request");
                if other == "timed_out" {
                    let due_at =
                        self.stream.due_at.map(|at| at.format("not ended by %Y-%m-%dT%H:%M:%SZ").to_string());
                    let is_due = self.stream.due_at.is_some_and(|at| at <= row.occurred_at);
                    self.check(row.version, is_due && detail == due_at, "timed out before its deadline");
                }
            }
        }
        (self.stream.reason, self.stream.detail) = (Some(name), detail);
        self.end(row, "cancelled");
    }

    fn end(&mut self, row: &EventRow, status: &'static str) {
        self.stream.status = status;
        self.stream.ended_at = Some(row.occurred_at);
    }

    /// A domain event that is published: the next one, under the same id, with this content.
    fn announced<E: Event>(&mut self, row: &EventRow, content: impl FnOnce(&'a E) -> Value) {
        let id = row.metadata["event_id"].as_str().and_then(|id| Uuid::parse_str(id).ok());
        let at = self.published.iter().position(|it| Some(it.event.event_id()) == id);
        let Some(published) = at.map(|at| self.published.remove(at)) else {
            self.check(row.version, false, "was published under no such id");
            return;
        };
        self.stream.last_sequence += 1;
        let (event, is_next): (&AnyEvent, bool) =
            (published.event, published.event.sequence() == self.stream.last_sequence);
        let expected = E::from_any(event).map(content);
        let is_same = expected.as_ref() == Some(&row.data) && event.occurred_at() == row.occurred_at;
        self.check(row.version, is_same && is_next, "is not what was published under its id");
        if let Some(record) = published.record {
            self.check_metadata(row, record.header("ce_causationid"), record.header("ce_userid"), record);
        }
    }

    /// A domain event that a fact led to: one that order has applied.
    fn fact<E: Event>(&mut self, row: &EventRow) -> Option<&'a E> {
        let cause = row.metadata["causation_id"].as_str().and_then(|id| Uuid::parse_str(id).ok());
        let found = self.applied.iter().find(|it| Some(it.event.event_id()) == cause);
        let fact = found.and_then(|it| Some((E::from_any(it.event)?, it.record)));
        self.check(row.version, fact.is_some(), "has no cause that order has applied");
        let (fact, record) = fact?;
        self.received.push(fact.event_id());
        self.check_metadata(row, row.metadata["causation_id"].as_str(), record.header("ce_userid"), record);
        Some(fact)
    }

    /// A domain event that no fact led to, but a request of the customer or order itself.
    fn uncaused(&mut self, row: &EventRow, by_customer: bool) {
        let customer = by_customer.then(|| self.stream.placed.customer_id.clone());
        let metadata = &row.metadata;
        let is_so = metadata["causation_id"].is_null() && metadata["user_id"] == json!(customer);
        self.check(row.version, is_so, "has a cause, or another user than its customer");
        let is_whole = metadata.as_object().is_some_and(|fields| fields.len() == 6);
        let is_known =
            is_whole && metadata["event_id"].as_str().is_some_and(|id| Uuid::parse_str(id).is_ok());
        self.check(
            row.version,
            is_known && metadata["correlation_id"] == json!(self.stream.correlation_id),
            "has another correlation",
        );
        if row.r#type == "DeadlineScheduled" {
            let (trace, state) =
                (trace_id(metadata["traceparent"].as_str()), metadata["tracestate"].as_str());
            let is_same =
                trace == self.stream.trace_id.as_deref() && state == self.stream.tracestate.as_deref();
            self.check(row.version, is_same, "belongs to another trace");
        }
    }

    /// What stands beside an event, compared with the headers of its own record or of its cause's.
    fn check_metadata(
        &mut self,
        row: &EventRow,
        causation_id: Option<&str>,
        user_id: Option<&str>,
        record: &Record,
    ) {
        let metadata = &row.metadata;
        let is_so = metadata["causation_id"].as_str() == causation_id
            && metadata["user_id"].as_str() == user_id
            && metadata["correlation_id"] == json!(self.stream.correlation_id);
        self.check(row.version, is_so, "has another cause, user or correlation than its record");
        let is_traced = trace_id(metadata["traceparent"].as_str()) == record.trace_id()
            && metadata["tracestate"].as_str() == record.header("tracestate");
        self.check(row.version, is_traced, "belongs to another trace than its record");
        let is_whole = metadata.as_object().is_some_and(|fields| fields.len() == 6);
        self.check(
            row.version,
            is_whole && Uuid::parse_str(metadata["event_id"].as_str().unwrap_or_default()).is_ok(),
            "has other metadata",
        );
    }

    /// Every fact that was applied has led to something, and everything published stands in the stream.
    fn finish(&mut self) {
        let order_id = self.order_id;
        for it in self.applied {
            let id = it.event.event_id();
            let is_received = self.received.contains(&id);
            self.out.holds(CHECK, is_received, || {
                format!(
                    "order {order_id}: its stream knows nothing of {} {id}, which order has applied",
                    it.event.event_type()
                )
            });
        }
        for it in &self.published {
            let id = it.event.event_id();
            self.out.violated(
                CHECK,
                format!("order {order_id}: its stream lacks {} {id}", it.event.event_type()),
            );
        }
    }
}
