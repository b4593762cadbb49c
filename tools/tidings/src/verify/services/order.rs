//! order's tables: streams, heads, views, keys and deadlines.

mod heads;
mod stream;

use chrono::{DateTime, Utc};
use contracts::Topic;
use contracts::order::OrderPlaced;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::services::ServiceName;
use crate::verify::case::Case;
use crate::verify::check::Check;
use crate::verify::report::Comparisons;
use crate::verify::rows::order::KeyRow;
use stream::Stream;

/// Compares order's tables with what it has published and applied.
pub(in crate::verify) fn orders(case: &Case<'_>, out: &mut Comparisons) {
    let rows = &case.snapshot.order;
    for (order_id, events) in &case.orders {
        let was_before = events.orders.iter().any(|it| case.history.was_before(it.record));
        match (!events.orders.is_empty(), rows.heads.contains_key(order_id)) {
            (true, false) if !was_before => {
                out.not_compared(
                    Check::Orders,
                    format!("order {order_id} is newer than what was read of order"),
                );
            }
            (true, is_there) => out.holds(Check::Orders, is_there, || {
                format!("order {order_id} is on the topic and not in order's database")
            }),
            (false, _) => {}
        }
    }
    for order_id in rows.events.keys().chain(rows.views.keys()) {
        out.holds(Check::Orders, rows.heads.contains_key(order_id), || {
            format!("order {order_id} has a stream or a view and no head")
        });
    }
    for order_id in rows.keys.keys().chain(rows.deadlines.keys()) {
        out.holds(Check::Orders, rows.heads.contains_key(order_id), || {
            format!("order {order_id} has a key or a deadline and no head")
        });
    }
    for (order_id, head) in &rows.heads {
        let counters = (head.last_sequence, Some(head.last_message_id));
        let key = order_id.to_string();
        let published = case.aggregate(out, ServiceName::Order, Topic::Orders, &key, counters);
        let events = rows.events.get(order_id).map_or(&[][..], Vec::as_slice);
        let Some(stream) = stream::check(case, *order_id, events, &published, out) else { continue };
        heads::head(head, &stream, out);
        heads::view(*order_id, rows.views.get(order_id), &stream, out);
        heads::deadline(*order_id, rows.deadlines.get(order_id), &stream, out);
        let keys = rows.keys.get(order_id).map_or(&[][..], Vec::as_slice);
        idempotency_key(*order_id, keys, &stream, out);
    }
}

/// One key an order, which says what was asked for and what was answered. The correlation id is drawn from customer and key.
fn idempotency_key(order_id: Uuid, keys: &[KeyRow], stream: &Stream<'_>, out: &mut Comparisons) {
    const CHECK: Check = Check::IdempotencyKeys;
    let subject = format!("order {order_id}");
    out.holds(CHECK, keys.len() == 1, || format!("{subject} has {} idempotency keys", keys.len()));
    let [key] = keys else { return };
    let placed = stream.placed;
    out.same_hidden(CHECK, &subject, "the key's customer_id", &key.customer_id, &placed.customer_id);
    out.same_hidden(CHECK, &subject, "the key's request", &key.request, &placement(placed));
    out.same(CHECK, &subject, "the key's status_code", &key.status_code, &202);
    out.same(CHECK, &subject, "the key's etag", &key.etag.as_str(), &"\"2\"");
    let answer: Value = serde_json::from_str(&key.body).unwrap_or_default();
    let expected = answer_to(order_id, stream);
    out.same_hidden(CHECK, &subject, "the key's body", &without_time(&answer), &expected);
    let placed_at = answer["placed_at"].as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok());
    out.same(CHECK, &subject, "placed_at in the key's body", &placed_at, &Some(placed.occurred_at));
    // A correlation id of version 7 was drawn before ids were derived from keys.
    if stream.correlation_id.is_some_and(|id| id.get_version_num() != 7) {
        let derived = contracts::envelope::correlation_id_of("order", &[&key.customer_id, &key.key]);
        out.same(CHECK, &subject, "the key's correlation id", &Some(derived), &stream.correlation_id);
    }
}

/// The answer with which the order was placed, but for the time.
fn answer_to(order_id: Uuid, stream: &Stream<'_>) -> Value {
    let placement = placement(stream.placed);
    let mut answer = json!({
        "order_id": order_id,
        "customer_id": placement["customer_id"],
        "status": "placed",
        "stage": "placed",
        "reason": null,
        "detail": null,
        "payment_id": null,
        "ended_at": null,
        "currency": placement["currency"],
        "total_minor": placement["total_minor"],
        "lines": placement["lines"],
        "version": 2,
    });
    if let Some(answer) = answer.as_object_mut() {
        if !placement["recipient"].is_null() {
            answer.insert("recipient".to_owned(), placement["recipient"].clone());
        }
        if let Some(trace_id) = &stream.trace_id {
            answer.insert("trace_id".to_owned(), json!(trace_id));
        }
    }
    answer
}

fn without_time(answer: &Value) -> Value {
    let mut answer = answer.clone();
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("placed_at");
    }
    answer
}

/// The content of an order as order stores it.
fn placement(placed: &OrderPlaced) -> Value {
    let lines: Vec<Value> = placed
        .lines
        .iter()
        .map(|line| {
            json!({ "sku": line.sku, "quantity": line.quantity, "unit_price_minor": line.unit_price_minor })
        })
        .collect();
    let recipient = placed.recipient.as_ref().map(|recipient| {
        let address = &recipient.address;
        json!({
            "name": recipient.name,
            "email": recipient.email,
            "address": {
                "street": address.street,
                "city": address.city,
                "postal_code": address.postal_code,
                "country": address.country,
            },
        })
    });
    json!({
        "customer_id": placed.customer_id,
        "currency": placed.currency,
        "lines": lines,
        "total_minor": placed.total_minor,
        "payment_method": placed.payment_method,
        "recipient": recipient,
    })
}
