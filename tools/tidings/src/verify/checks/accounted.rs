//! G5: every event on a topic was processed, is parked, has no subscriber, or is still pending, in each service.

use std::collections::HashSet;

use super::{Parked, count};
use crate::services::ServiceName;
use crate::verify::case::Case;
use crate::verify::history::Place;
use crate::verify::report::{Findings, Guarantee, Verdict};
use crate::verify::snapshot::Delivery;
use crate::verify::subscriptions;

#[derive(Default)]
struct Figures {
    processed: u64,
    parked: u64,
    not_subscribed: u64,
    pending: u64,
    pruned: u64,
}

/// Follows every event into every service.
#[must_use]
pub fn check(case: &Case<'_>, parked: Parked) -> Verdict {
    let mut violations = Findings::default();
    let mut figures = Figures::default();
    for (service, delivery) in &case.snapshot.delivery {
        account(case, *service, delivery, &mut figures, &mut violations);
    }
    if parked == Parked::Unexpected {
        for (service, row) in case.snapshot.parked() {
            let id = row.event_id.map_or_else(|| "unreadable".to_owned(), |id| id.to_string());
            violations.add(format!(
                "{service} parked {}/{}@{} (event {id}, key {}): {}",
                row.topic, row.partition, row.offset, row.key, row.reason
            ));
        }
    }
    let mut unverifiable = Findings::default();
    if figures.pruned > 0 {
        unverifiable.add(format!("{} events are older than what the inboxes remember", figures.pruned));
    }
    let figures = vec![
        ("processed", figures.processed),
        ("parked", figures.parked),
        ("without a subscriber", figures.not_subscribed),
        ("pending", figures.pending),
        ("unreadable records", count(case.history.unreadable.len())),
    ];
    Verdict::new(Guarantee::G5, figures, violations, unverifiable)
}

fn account(
    case: &Case<'_>,
    service: ServiceName,
    delivery: &Delivery,
    figures: &mut Figures,
    violations: &mut Findings,
) {
    let parked: HashSet<(&str, i32, i64)> =
        delivery.parked.iter().map(|row| (row.topic.as_str(), row.partition, row.offset)).collect();
    let is_parked = |place: &Place| {
        parked.contains(&(case.topics.name(place.topic).as_str(), place.partition, place.offset))
    };
    let subscribed: HashSet<&str> = subscriptions::of(service).iter().copied().collect();
    let is_pending = |place: &Place| {
        let position = delivery.positions.get(&(case.topics.name(place.topic), place.partition));
        position.is_none_or(|position| place.offset >= *position)
    };
    for seen in &case.history.seen {
        let id = seen.event.event_id();
        if !subscribed.contains(seen.event.event_type()) {
            figures.not_subscribed += 1;
        } else if is_parked(&seen.place) {
            figures.parked += 1;
        } else if delivery.inbox.contains(&id) {
            figures.processed += 1;
        } else if is_pending(&seen.place) {
            figures.pending += 1;
        } else if id < delivery.inbox_floor {
            figures.pruned += 1;
        } else {
            violations.add(format!(
                "{service} passed {} {id} at {} (key {}) without processing or parking it",
                seen.event.event_type(),
                seen.place,
                seen.event.key()
            ));
        }
    }
    for unreadable in &case.history.unreadable {
        let claimed = unreadable.claimed_type.as_deref();
        let reads_topic = subscriptions::topics(service).contains(&unreadable.place.topic);
        if !reads_topic || claimed.is_some_and(|claimed| !subscribed.contains(claimed)) {
            figures.not_subscribed += 1;
        } else if is_parked(&unreadable.place) {
            figures.parked += 1;
        } else if is_pending(&unreadable.place) {
            figures.pending += 1;
        } else {
            violations.add(format!(
                "{service} passed the unreadable record at {} without parking it ({})",
                unreadable.place, unreadable.reason
            ));
        }
    }
}
