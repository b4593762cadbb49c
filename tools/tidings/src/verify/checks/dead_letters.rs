//! G5: dead letters, the keys that they block, and the audit of what was done to them.

use std::collections::{BTreeMap, HashMap, HashSet};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::inbox::written_at;
use crate::services::ServiceName;
use crate::verify::case::Case;
use crate::verify::check::Check;
use crate::verify::delivery::{Delivery, LetterRow};
use crate::verify::failures::Failures;
use crate::verify::fates::{self, Fate};
use crate::verify::history::{Place, Record};
use crate::verify::report::Comparisons;
use crate::verify::subscriptions;

/// Milliseconds of a week, and of the Monday after the epoch.
const WEEK_MS: u64 = 7 * 86_400_000;
const MONDAY_MS: u64 = 4 * 86_400_000;

pub(super) fn check(case: &Case<'_>, tolerated: Failures, out: &mut Comparisons) {
    let records: HashMap<Place, &Record> =
        case.history.records.iter().map(|record| (record.place, record)).collect();
    for (service, delivery) in &case.snapshot.delivery {
        let mut last_of_key: HashMap<(&str, &[u8]), i64> = HashMap::new();
        for row in delivery.letters.iter() {
            let key = row.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            out.note(format!(
                "{service} has a dead letter of {}/{}@{} (event {}, key {key}): {}",
                row.topic, row.partition, row.offset, row.event_id, row.reason
            ));
            let subject = format!("{service}'s dead letter {} of event {}", row.id, row.event_id);
            letter(case, (*service, delivery), (&subject, row), &records, out);
            if let Some(key) = row.key.as_deref() {
                let before = last_of_key.insert((&row.topic, key), row.offset);
                out.holds(Check::DeadLetters, before.is_none_or(|before| before < row.offset), || {
                    format!("{subject} comes after a later one of its key")
                });
            }
            out.holds(Check::DeadLetters, tolerated == Failures::Listed, || {
                let (key, reason) = (row.key.as_deref().map(String::from_utf8_lossy), &row.reason);
                format!("{subject} (key {}): {reason}", key.unwrap_or_default())
            });
        }
        keys(*service, delivery, out);
        audit(case, *service, delivery, &records, out);
        deduplication(case, *service, delivery, out);
    }
}

/// Whether the record at this place was not read.
fn is_left_out(case: &Case<'_>, topic: &str, partition: i32) -> bool {
    case.topics.parse(topic).is_some_and(|topic| case.history.unread.has((topic, partition)))
}

fn record_at<'a>(
    case: &Case<'_>,
    records: &HashMap<Place, &'a Record>,
    (topic, partition, offset): (&str, i32, i64),
) -> Option<&'a Record> {
    records.get(&Place { topic: case.topics.parse(topic)?, partition, offset }).copied()
}

fn letter(
    case: &Case<'_>,
    (service, delivery): (ServiceName, &Delivery),
    (subject, row): (&str, &LetterRow),
    records: &HashMap<Place, &Record>,
    out: &mut Comparisons,
) {
    let known = delivery.events.get(&row.event_id);
    let place = known.map(|known| (known.topic.as_str(), known.partition, known.offset, known.log));
    out.same(
        Check::DeadLetters,
        &subject,
        "its place",
        &Some((row.topic.as_str(), row.partition, row.offset, row.log)),
        &place,
    );
    if is_left_out(case, &row.topic, row.partition) {
        return;
    }
    let Some(record) = record_at(case, records, (&row.topic, row.partition, row.offset)) else {
        out.violated(Check::DeadLetters, format!("{subject} names a place where no record stands"));
        return;
    };
    let headers: Vec<(String, Vec<u8>)> =
        row.header_names.iter().cloned().zip(row.header_values.iter().cloned()).collect();
    let is_whole = row.key == record.key && row.value == record.value && headers == record.headers;
    out.holds(Check::DeadLetters, is_whole && headers.len() == row.header_values.len(), || {
        format!("{subject} holds other bytes than the record at {}", record.place)
    });
    let decoded = record.event.as_ref().ok().map(contracts::AnyEvent::event_type);
    let is_made = record.made_id(&row.topic) == row.event_id;
    // One that another release knows has the type that it announced, or that its schema names.
    let is_expected = match row.event_type.as_deref() {
        announced if !is_made => announced == decoded,
        Some(announced) => {
            [record.header("ce_type"), decoded].contains(&Some(announced)) || row.detail.contains(announced)
        }
        None => row.reason != "unknown_event_type",
    };
    out.holds(Check::DeadLetters, is_expected, || {
        format!("{subject} is of type {:?}, its record is not", row.event_type)
    });
    let prints = [row.event_type.as_deref(), decoded].map(|kind| fingerprint(kind, &row.reason, &row.detail));
    out.holds(Check::DeadLetters, prints.contains(&row.fingerprint), || {
        format!("{subject}: its reason and detail are not those of its fingerprint")
    });
    let refused = |entry: &&crate::verify::delivery::AuditRow| {
        entry.dead_letter_id == row.id && entry.result == "rejected"
    };
    let attempts = delivery.audit.iter().filter(refused).count();
    out.same(Check::DeadLetters, &subject, "attempts", &i64::from(row.attempts), &(attempts as i64));
    out.same(
        Check::DeadLetters,
        &subject,
        "was attempted",
        &row.last_attempted_at.is_some(),
        &(attempts > 0),
    );
    let taken_at = case.taken_at(service);
    let since = written_at(record).unwrap_or(row.dead_lettered_at);
    case.plausible(
        out,
        Check::DeadLetters,
        &subject,
        "dead_lettered_at",
        row.dead_lettered_at,
        (since, taken_at),
    );
    if let Some(at) = row.last_attempted_at {
        case.plausible(
            out,
            Check::DeadLetters,
            &subject,
            "last_attempted_at",
            at,
            (row.dead_lettered_at, taken_at),
        );
    }
    let digest = row.key.as_deref().map(|key| Sha256::digest(key).to_vec());
    out.same(Check::DeadLetters, &subject, "key_digest", &row.key_digest, &digest);
}

/// The same for letters of one cause: words with a digit don't count.
fn fingerprint(event_type: Option<&str>, reason: &str, detail: &str) -> String {
    let mut hash = Sha256::new();
    let words =
        detail.split_whitespace().filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()));
    for part in [event_type.unwrap_or_default(), reason].into_iter().chain(words) {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn keys(service: ServiceName, delivery: &Delivery, out: &mut Comparisons) {
    let mut expected: BTreeMap<(String, Vec<u8>), i32> = BTreeMap::new();
    for entry in &delivery.audit {
        if let Some(digest) = &entry.key_digest {
            expected.entry((entry.topic.clone(), digest.clone())).or_default();
        }
    }
    for row in delivery.letters.iter() {
        if let Some(digest) = &row.key_digest {
            *expected.entry((row.topic.clone(), digest.clone())).or_default() += 1;
        }
    }
    let found: BTreeMap<(String, Vec<u8>), i32> =
        delivery.letter_keys.iter().map(|(key, (open, _))| (key.clone(), *open)).collect();
    let all: HashSet<&(String, Vec<u8>)> = found.keys().chain(expected.keys()).collect();
    for key in all {
        let subject = format!("{service}'s key {} of {}", hex(&key.1), key.0);
        out.same(Check::DeadLetterKeys, &subject, "open letters", &found.get(key), &expected.get(key));
        let last = delivery.letter_keys.get(key).and_then(|(_, last)| *last);
        out.same(Check::DeadLetterKeys, &subject, "last_message_id", &last, &None);
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn audit(
    case: &Case<'_>,
    service: ServiceName,
    delivery: &Delivery,
    records: &HashMap<Place, &Record>,
    out: &mut Comparisons,
) {
    let mut done: HashSet<i64> = HashSet::new();
    let mut places: HashSet<(&str, i32, i64)> = HashSet::new();
    for entry in &delivery.audit {
        let id = entry.event_id;
        // Below the floor the inbox keeps no word of what was redriven.
        let is_forgotten =
            !delivery.events.contains_key(&id) && delivery.floor.is_some_and(|(floor, _)| id < floor);
        let subject = format!("{service}'s audit of dead letter {} (event {id})", entry.dead_letter_id);
        let fate = delivery.events.get(&id).map(|row| fates::of_outcome(&row.outcome));
        let open = delivery.letters.iter().find(|row| row.id == entry.dead_letter_id);
        let is_so = match entry.result.as_str() {
            "rejected" => open.is_none_or(|row| row.event_id == id),
            "discarded" => fate == Some(Fate::Discarded) && open.is_none(),
            _ => entry.action == "redrive" && fate == Some(Fate::Applied) && open.is_none(),
        };
        out.holds(Check::Audit, is_so || is_forgotten, || {
            format!("{subject} says {} by {}, the inbox says {fate:?}", entry.result, entry.action)
        });
        if entry.result != "rejected" {
            places.insert((&entry.topic, entry.partition, entry.offset));
            out.holds(Check::Audit, done.insert(entry.dead_letter_id), || {
                format!("{subject}: it went twice")
            });
        }
        let found = Some((entry.topic.as_str(), entry.partition, entry.offset));
        let place = delivery.events.get(&id).map(|row| (row.topic.as_str(), row.partition, row.offset));
        let place = if is_forgotten { found } else { place };
        out.same(Check::Audit, &subject, "its place", &found, &place);
        if is_left_out(case, &entry.topic, entry.partition) {
            continue;
        }
        let record = record_at(case, records, (&entry.topic, entry.partition, entry.offset));
        let key = record.and_then(|record| record.key.as_deref()).map(|key| Sha256::digest(key).to_vec());
        out.same(Check::Audit, &subject, "key_digest", &entry.key_digest, &key);
        let since = record.and_then(written_at).unwrap_or(entry.recorded_at);
        case.plausible(
            out,
            Check::Audit,
            &subject,
            "recorded_at",
            entry.recorded_at,
            (since, case.taken_at(service)),
        );
    }
    for (id, row) in &delivery.events {
        let is_act = ["redriven", "undecidable_redriven", "discarded", "undecidable_discarded"];
        if is_act.contains(&row.outcome.as_str()) {
            let place = (row.topic.as_str(), row.partition, row.offset);
            let is_open = delivery.letters.iter().any(|letter| letter.event_id == *id);
            out.holds(Check::Audit, places.contains(&place) || is_open, || {
                format!("{service}'s event {id} is {}, and no act on a dead letter says so", row.outcome)
            });
        }
    }
}

fn deduplication(case: &Case<'_>, service: ServiceName, delivery: &Delivery, out: &mut Comparisons) {
    let subject = format!("{service}'s inbox");
    let Some((floor, ceiling)) = delivery.floor else {
        out.violated(Check::Deduplication, format!("{subject} has lost its floor"));
        return;
    };
    out.holds(Check::Deduplication, floor.is_nil() || is_week(floor), || {
        format!("{subject}: its floor {floor} is the beginning of no week")
    });
    out.holds(
        Check::Deduplication,
        ceiling.is_some_and(|ceiling| is_week(ceiling) && ceiling > floor),
        || format!("{subject}: the end of its newest week is {ceiling:?}"),
    );
    for (name, row) in &delivery.topics {
        let is_read =
            case.topics.parse(name).is_some_and(|topic| subscriptions::topics(service).contains(&topic));
        let is_so = is_read && row.first_floor <= floor && row.whole && row.topic_id.is_none();
        out.holds(Check::Deduplication, is_so, || format!("{subject}: what it says of {name} can't be"));
    }
    for topic in subscriptions::topics(service) {
        let name = case.topics.name(*topic);
        let has_position = delivery.positions.keys().any(|(topic, _)| *topic == name);
        out.holds(Check::Deduplication, !has_position || delivery.topics.contains_key(&name), || {
            format!("{subject} has positions in {name} and no row for it")
        });
    }
}

/// Whether an id is the first one of a Monday (UTC) and of all that could be drawn then.
fn is_week(id: Uuid) -> bool {
    let (high, low) = id.as_u64_pair();
    low == 0 && high & 0xffff == 0 && (high >> 16).checked_sub(MONDAY_MS).is_some_and(|ms| ms % WEEK_MS == 0)
}
