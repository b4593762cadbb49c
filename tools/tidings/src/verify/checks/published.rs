//! G1: what was accepted is on the topic, and what is on the topic was accepted.

use std::collections::{HashMap, HashSet};

use contracts::Topic;
use contracts::order::CancellationReason;
use uuid::Uuid;

use super::count;
use crate::services::ServiceName;
use crate::verify::case::Case;
use crate::verify::model::{End, Story};
use crate::verify::report::{Findings, Guarantee, Verdict};
use crate::verify::snapshot::OrderRow;

/// Compares order's rows and everybody's outbox with the topics.
#[must_use]
pub fn check(case: &Case<'_>) -> Verdict {
    let mut violations = Findings::default();
    let waiting = waiting_orders(case);
    for row in &case.snapshot.orders {
        check_order(
            row,
            case.model.orders.get(&row.order_id),
            waiting.contains(&row.order_id),
            &mut violations,
        );
    }
    let pending = case.snapshot.orders.iter().filter(|row| waiting.contains(&row.order_id)).count();
    let known: HashSet<Uuid> = case.snapshot.orders.iter().map(|row| row.order_id).collect();
    for (order_id, story) in &case.model.orders {
        // An order placed after order's database was read is newer than the comparison, not lost.
        if !story.placed.is_empty() && !known.contains(order_id) && case.is_quiet() {
            violations.add(format!("order {order_id} is on the topic and not in order's database"));
        }
    }
    let finished = check_outboxes(case, &mut violations);
    let figures = vec![
        ("orders", count(case.snapshot.orders.len())),
        ("messages found on the topics", finished),
        ("orders with events pending", count(pending)),
    ];
    Verdict::new(Guarantee::G1, figures, violations, Findings::default())
}

/// Orders whose newest event is committed and not yet on the topic.
fn waiting_orders(case: &Case<'_>) -> HashSet<Uuid> {
    let orders = case.topics.name(Topic::Orders);
    let outbox = case.snapshot.delivery.get(&ServiceName::Order).map_or(&[][..], |delivery| &delivery.outbox);
    outbox
        .iter()
        .filter(|row| !row.is_published && row.topic == orders)
        .filter_map(|row| Uuid::parse_str(&row.key).ok())
        .collect()
}

fn check_order(row: &OrderRow, story: Option<&Story<'_>>, is_waiting: bool, violations: &mut Findings) {
    let order_id = row.order_id;
    let Some((story, placed)) = story.and_then(|story| Some((story, story.placed.first()?))) else {
        if !is_waiting {
            violations.add(format!("order {order_id} was accepted and is not on the topic"));
        }
        return;
    };
    if (placed.total_minor, &placed.currency) != (row.total_minor, &row.currency) {
        violations.add(format!(
            "order {order_id} costs {} {} in order's database and {} {} on the topic",
            row.total_minor, row.currency, placed.total_minor, placed.currency
        ));
    }
    let stored = stored_end(row);
    // An end on the topic that the row does not have yet is newer than the row.
    if let Some(stored) = stored
        && story.end() != Some(stored)
        && !is_waiting
    {
        violations.add(format!(
            "order {order_id} is {stored:?} in order's database and {:?} on the topic",
            story.end()
        ));
    }
    if let (None, Some(end)) = (stored, story.end())
        && row.last_sequence > 1
    {
        violations.add(format!("order {order_id} is open in order's database and {end:?} on the topic"));
    }
    let on_topic = story.placed.len() + story.ends();
    let published = usize::try_from(row.last_sequence).unwrap_or_default();
    if published > on_topic && !is_waiting {
        violations
            .add(format!("order {order_id} published {published} events, and {on_topic} are on the topic"));
    }
}

fn stored_end(row: &OrderRow) -> Option<End> {
    let reason = match row.reason.as_deref() {
        Some("out_of_stock") => CancellationReason::OutOfStock,
        Some("payment_declined") => CancellationReason::PaymentDeclined,
        Some("customer_request") => CancellationReason::CustomerRequest,
        Some("timed_out") => CancellationReason::TimedOut,
        Some(_) | None => CancellationReason::Unknown,
    };
    match row.status.as_str() {
        "confirmed" => Some(End::Confirmed),
        "cancelled" => Some(End::Cancelled(reason)),
        _ => None,
    }
}

/// Every row that a relay has finished is on its topic, under its key and number. How many there are.
fn check_outboxes(case: &Case<'_>, violations: &mut Findings) -> u64 {
    let on_topics: HashMap<Uuid, (String, i64)> = case
        .history
        .seen
        .iter()
        .map(|seen| (seen.event.event_id(), (seen.event.key(), seen.event.sequence())))
        .collect();
    let mut finished = 0;
    for (service, delivery) in &case.snapshot.delivery {
        for row in delivery.outbox.iter().filter(|row| row.is_published) {
            finished += 1;
            let found = on_topics.get(&row.event_id);
            if found.is_none_or(|(key, sequence)| (key, sequence) != (&row.key, &row.sequence)) {
                violations.add(format!(
                    "event {} ({} of key {}) was published by {service}'s relay and is not on {}",
                    row.event_id, row.sequence, row.key, row.topic
                ));
            }
        }
        for blocked in &delivery.blocked_keys {
            violations.add(format!("{service}'s relay has blocked {blocked}"));
        }
    }
    finished
}
