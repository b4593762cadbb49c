//! G5: every event on a topic was processed, is a dead letter, has no subscriber, or is still pending, in each service.

use std::collections::HashSet;

use super::{DeadLetters, count};
use crate::services::ServiceName;
use crate::verify::case::Case;
use crate::verify::history::Place;
use crate::verify::report::{Findings, Guarantee, Verdict};
use crate::verify::snapshot::Delivery;
use crate::verify::subscriptions;

#[derive(Default)]
struct Figures {
    processed: u64,
    dead_letters: u64,
    not_subscribed: u64,
    pending: u64,
    pruned: u64,
}

/// Follows every event into every service.
#[must_use]
pub fn check(case: &Case<'_>, dead_letters: DeadLetters) -> Verdict {
    let mut violations = Findings::default();
    let mut figures = Figures::default();
    for (service, delivery) in &case.snapshot.delivery {
        account(case, *service, delivery, &mut figures, &mut violations);
    }
    if dead_letters == DeadLetters::Unexpected {
        for (service, row) in case.snapshot.dead_letters() {
            violations.add(format!(
                "{service} has a dead letter of {}/{}@{} (event {}, key {}): {}",
                row.topic, row.partition, row.offset, row.event_id, row.key, row.reason
            ));
        }
    }
    let mut unverifiable = Findings::default();
    if figures.pruned > 0 {
        unverifiable.add(format!("{} events are older than what the inboxes remember", figures.pruned));
    }
    let figures = vec![
        ("processed", figures.processed),
        ("dead letters", figures.dead_letters),
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
    let letters: HashSet<(&str, i32, i64)> =
        delivery.dead_letters.iter().map(|row| (row.topic.as_str(), row.partition, row.offset)).collect();
    let is_dead_letter = |place: &Place| {
        letters.contains(&(case.topics.name(place.topic).as_str(), place.partition, place.offset))
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
        } else if is_dead_letter(&seen.place) {
            figures.dead_letters += 1;
        } else if delivery.inbox.contains(&id) {
            figures.processed += 1;
        } else if is_pending(&seen.place) {
            figures.pending += 1;
        } else if id < delivery.inbox_floor {
            figures.pruned += 1;
        } else {
            violations.add(format!(
                "{service} passed {} {id} at {} (key {}) without applying it or making it a dead letter",
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
        } else if is_dead_letter(&unreadable.place) {
            figures.dead_letters += 1;
        } else if is_pending(&unreadable.place) {
            figures.pending += 1;
        } else {
            violations.add(format!(
                "{service} passed the unreadable record at {} without making it a dead letter ({})",
                unreadable.place, unreadable.reason
            ));
        }
    }
}
