//! What became of each event in each service that subscribes to it.

use std::collections::HashMap;

use contracts::topics::{Topic, Topics};
use uuid::Uuid;

use super::databases::Snapshot;
use super::history::{History, Seen};
use super::subscriptions;
use crate::services::ServiceName;

/// What became of an event in a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It had its effect. An id below the inbox's floor had it as well: other ends are remembered for ever.
    Applied,
    /// It is a dead letter.
    DeadLettered,
    /// Somebody discarded it.
    Discarded,
    /// The service had not come to it.
    Pending,
    /// The service has passed it, and nothing says what became of it.
    Lost,
}

/// The fate that the inbox's word for an outcome means.
#[must_use]
pub fn of_outcome(outcome: &str) -> Fate {
    match outcome {
        "applied" | "redriven" | "undecidable_redriven" => Fate::Applied,
        "discarded" | "undecidable_discarded" => Fate::Discarded,
        _ => Fate::DeadLettered,
    }
}

/// The fate of every event in every service that subscribes to it.
#[must_use]
pub fn of(topics: &Topics, history: &History, snapshot: &Snapshot) -> HashMap<(ServiceName, Uuid), Fate> {
    let names: HashMap<Topic, String> =
        Topic::ALL.into_iter().map(|topic| (topic, topics.name(topic))).collect();
    let mut fates = HashMap::new();
    for (service, delivery) in &snapshot.delivery {
        let (types, reads) = (subscriptions::of(*service), subscriptions::topics(*service));
        let floor = delivery.floor.map(|(floor, _)| floor).unwrap_or_default();
        for record in history.records.iter().filter(|record| reads.contains(&record.place.topic)) {
            let Seen::Event(event) = record.seen_by(types) else { continue };
            let id = event.event_id();
            let next = delivery.next_offset(&names[&record.place.topic], record.place.partition);
            let is_passed = next.is_some_and(|next| record.place.offset < next);
            let fate = match delivery.events.get(&id) {
                Some(row) => of_outcome(&row.outcome),
                None if !is_passed => Fate::Pending,
                None if id < floor => Fate::Applied,
                None => Fate::Lost,
            };
            // A repetition that still waits says nothing about the first delivery.
            if fate != Fate::Pending || !fates.contains_key(&(*service, id)) {
                fates.insert((*service, id), fate);
            }
        }
    }
    fates
}
