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
    /// It had its effect. An id below the inbox's floor had it as well: other ends are remembered permanently.
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
pub fn of_outcome(outcome: &str) -> Fate {
    match outcome {
        "applied" | "redriven" | "undecidable_redriven" => Fate::Applied,
        "discarded" | "undecidable_discarded" => Fate::Discarded,
        _ => Fate::DeadLettered,
    }
}

/// The fate of every event in every service that subscribes to it.
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
            // One that the service could not read is known by the id that was made for its place.
            let made = || record.made_id(&names[&record.place.topic]);
            let row = delivery.events.get(&id);
            let row = row.or_else(|| delivery.events.get(&made()).filter(|_| is_passed));
            let fate = match row {
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

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use contracts::AnyEvent;
    use contracts::order::OrderConfirmed;

    use super::*;
    use crate::verify::delivery::{Delivery, InboxRow, PositionRow};
    use crate::verify::history::{Place, Record};

    /// The fate of an event that notification has passed, if its inbox has such a row.
    fn of_one(outcome: Option<&str>, is_made: bool) -> Option<Fate> {
        let (topics, order_id) = (Topics::new("test"), Uuid::from_u128(1));
        let name = topics.name(Topic::Orders);
        let event = AnyEvent::OrderConfirmed(OrderConfirmed {
            event_id: Uuid::from_u128(2),
            occurred_at: DateTime::UNIX_EPOCH,
            order_id,
            sequence: 2,
            payment_id: Uuid::from_u128(3),
        });
        let record = Record {
            place: Place { topic: Topic::Orders, partition: 0, offset: 7 },
            key: Some(order_id.to_string().into_bytes()),
            headers: Vec::new(),
            value: Some(vec![0]),
            timestamp_ms: None,
            event: Ok(event),
        };
        let event_id = if is_made { record.made_id(&name) } else { Uuid::from_u128(2) };
        let row = outcome.map(|outcome| InboxRow {
            event_id,
            topic: name.clone(),
            partition: 0,
            offset: 7,
            log: 1,
            processed_at: DateTime::UNIX_EPOCH,
            outcome: outcome.to_owned(),
        });
        let delivery = Delivery {
            positions: [((name, 0), PositionRow::at(8))].into(),
            events: row.into_iter().map(|row| (event_id, row)).collect(),
            ..Delivery::default()
        };
        let snapshot =
            Snapshot { delivery: [(ServiceName::Notification, delivery)].into(), ..Snapshot::default() };
        let history = History { records: vec![record], ..History::default() };
        of(&topics, &history, &snapshot).get(&(ServiceName::Notification, Uuid::from_u128(2))).copied()
    }

    #[test]
    fn what_a_service_could_not_read_is_known_by_the_id_that_was_made_for_it() {
        assert_eq!(of_one(Some("dead_lettered"), true), Some(Fate::DeadLettered));
        assert_eq!(of_one(Some("discarded"), true), Some(Fate::Discarded));
        assert_eq!(of_one(Some("applied"), false), Some(Fate::Applied));
        assert_eq!(of_one(None, false), Some(Fate::Lost));
    }
}
