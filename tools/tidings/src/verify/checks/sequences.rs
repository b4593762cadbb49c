//! G2: the first occurrences of each key's events bear 1, 2, 3, ... without a gap, in one partition; a further occurrence is
//! the same event.

use std::collections::HashMap;

use contracts::Topic;
use uuid::Uuid;

use crate::verify::case::Case;
use crate::verify::check::Check;
use crate::verify::history::Record;
use crate::verify::report::Comparisons;

pub(super) fn check(case: &Case<'_>, out: &mut Comparisons) {
    let mut first: HashMap<Uuid, &Record> = HashMap::with_capacity(case.history.records.len());
    let mut keys: HashMap<(Topic, String), (i32, i64)> = HashMap::new();
    for record in &case.history.records {
        let Ok(event) = &record.event else { continue };
        let (id, place) = (event.event_id(), record.place);
        if let Some(earlier) = first.get(&id) {
            let is_same = earlier.event == record.event && earlier.place.topic == place.topic;
            out.holds(Check::Repetitions, is_same, || {
                let (key, earlier) = (event.key(), earlier.place);
                format!("event {id} of {key} at {place} differs from its first occurrence at {earlier}")
            });
            continue;
        }
        first.insert(id, record);
        let (partition, last) = keys.entry((place.topic, event.key())).or_insert((place.partition, 0));
        let follows = *partition == place.partition && event.sequence() == *last + 1;
        out.holds(Check::Sequences, follows, || {
            format!(
                "{} {id} of key {} at {place} has sequence {} after {last} in partition {partition}",
                event.event_type(),
                event.key(),
                event.sequence()
            )
        });
        *last = event.sequence().max(*last);
    }
}
