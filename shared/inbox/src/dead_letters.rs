//! Dead letters: what can't be applied is kept with its reason and bytes, and its key's later records wait behind it.
//!
//! Invariant: each transaction that writes a letter, asks whether a key has open ones, or redrives locks the key's row in
//! `dead_letter_keys`, so that no record slips past one that waits before it. The row stays, with the number of open
//! letters, so that there is always something to lock.

use std::collections::{HashMap, HashSet};

use messaging::{Delivered, TopicPartition};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error_policy::Rejection;

/// The reason of an event that is itself fine but waits behind a dead letter.
pub(crate) const BEHIND: &str = "behind_dead_letter";

/// A record that becomes a dead letter.
#[derive(Debug)]
pub(crate) struct NewDeadLetter<'a> {
    pub(crate) partition: &'a TopicPartition,
    /// The log in which the record stands.
    pub(crate) log: i32,
    pub(crate) record: &'a Delivered,
    /// Its own id, or the one that was made for it.
    pub(crate) event_id: Uuid,
    pub(crate) event_type: Option<&'a str>,
    pub(crate) rejection: Rejection,
    /// Its outcome in `inbox.events`.
    pub(crate) outcome: &'static str,
}

/// The keys that have open letters, by topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocked {
    of_topic: HashMap<String, HashSet<Vec<u8>>>,
}

impl Blocked {
    pub(crate) fn contains(&self, topic: &str, key: &[u8]) -> bool {
        self.of_topic.get(topic).is_some_and(|keys| keys.contains(key))
    }

    pub(crate) fn insert(&mut self, topic: &str, key: &[u8]) {
        self.of_topic.entry(topic.to_owned()).or_default().insert(key.to_owned());
    }
}

/// Locks the row of a key that has letters. A batch locks those of all its keys ([`crate::known`]).
pub(crate) async fn lock_key(conn: &mut PgConnection, topic: &str, key: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT FROM inbox.dead_letter_keys WHERE topic = $1 AND key_digest = sha256($2) FOR UPDATE")
        .bind(topic)
        .bind(key)
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes these letters in this order, counts them as open ones of their keys, and sets the outcome of their ids, which this
/// transaction has inserted. One statement: only the rows of keys may be locked by others, and those are locked sorted.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    letters: &[NewDeadLetter<'_>],
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(letters);
    sqlx::query(
        r#"WITH letters AS (
               SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::bigint[], $5::integer[], $6::bytea[],
                       $7::text[], $8::text[], $9::text[], $10::text[], $11::bytea[], $12::text[], $13::integer[],
                       $14::integer[]) WITH ORDINALITY
                   AS l (event_id, topic, partition, position, log, key, event_type, reason, detail, fingerprint, value,
                       outcome, first_header, last_header, place)),
           keys AS (
               INSERT INTO inbox.dead_letter_keys (topic, key_digest, open_letters)
               SELECT topic, sha256(key), count(*) FROM letters WHERE key IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
               ON CONFLICT (topic, key_digest)
                   DO UPDATE SET open_letters = dead_letter_keys.open_letters + excluded.open_letters),
           outcomes AS (
               UPDATE inbox.events e SET outcome = l.outcome FROM letters l WHERE e.event_id = l.event_id)
           INSERT INTO inbox.dead_letters (event_id, topic, partition, "offset", log, key, event_type, reason, detail,
               fingerprint, header_names, header_values, value)
           SELECT event_id, topic, partition, position, log, key, event_type, reason, detail, fingerprint,
               ($15::text[])[first_header:last_header], ($16::bytea[])[first_header:last_header], value
           FROM letters ORDER BY place"#,
    )
    .bind(columns.event_ids)
    .bind(columns.topics)
    .bind(columns.partitions)
    .bind(columns.offsets)
    .bind(columns.logs)
    .bind(columns.keys)
    .bind(columns.event_types)
    .bind(columns.reasons)
    .bind(columns.details)
    .bind(columns.fingerprints)
    .bind(columns.values)
    .bind(columns.outcomes)
    .bind(columns.first_headers)
    .bind(columns.last_headers)
    .bind(columns.header_names)
    .bind(columns.header_values)
    .execute(conn)
    .await?;
    Ok(())
}

/// The columns of letters. The headers of all of them lie behind each other, counted from 1.
#[derive(Default)]
struct Columns<'a> {
    event_ids: Vec<Uuid>,
    topics: Vec<&'a str>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    logs: Vec<i32>,
    keys: Vec<Option<&'a [u8]>>,
    event_types: Vec<Option<String>>,
    reasons: Vec<&'static str>,
    details: Vec<String>,
    fingerprints: Vec<String>,
    values: Vec<Option<&'a [u8]>>,
    outcomes: Vec<&'static str>,
    first_headers: Vec<i32>,
    last_headers: Vec<i32>,
    header_names: Vec<&'a str>,
    header_values: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(letters: &'a [NewDeadLetter<'a>]) -> Self {
        let mut columns = Self::default();
        letters.iter().for_each(|letter| columns.push(letter));
        columns
    }

    fn push(&mut self, letter: &'a NewDeadLetter<'a>) {
        let NewDeadLetter { partition, log, record, event_id, event_type, rejection, outcome } = letter;
        let (event_type, detail) = (event_type.map(text), text(&rejection.detail));
        self.event_ids.push(*event_id);
        self.topics.push(&partition.topic);
        self.partitions.push(partition.partition);
        self.offsets.push(record.offset);
        self.logs.push(*log);
        self.keys.push(record.key.as_deref());
        self.reasons.push(rejection.reason);
        self.fingerprints.push(fingerprint(event_type.as_deref(), rejection.reason, &detail));
        self.event_types.push(event_type);
        self.details.push(detail);
        self.values.push(record.value.as_deref());
        self.outcomes.push(*outcome);
        self.first_headers.push(place(self.header_names.len() + 1));
        for (name, value) in &record.headers {
            self.header_names.push(name);
            self.header_values.push(value);
        }
        self.last_headers.push(place(self.header_names.len()));
    }
}

/// A place in an array of the database; headers of more letters than a transaction has do not fit into memory.
fn place(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A letter was rejected again: one attempt more, and the reason that it has now.
pub(crate) async fn restate(
    conn: &mut PgConnection,
    id: i64,
    event_type: Option<&str>,
    rejection: &Rejection,
) -> Result<(), sqlx::Error> {
    let detail = text(&rejection.detail);
    sqlx::query(
        "UPDATE inbox.dead_letters
         SET reason = $2, detail = $3, fingerprint = $4, attempts = attempts + 1, last_attempted_at = clock_timestamp()
         WHERE id = $1",
    )
    .bind(id)
    .bind(rejection.reason)
    .bind(&detail)
    .bind(fingerprint(event_type, rejection.reason, &detail))
    .execute(conn)
    .await?;
    Ok(())
}

/// How many dead letters there are, by topic and reason.
pub(crate) async fn count(conn: &mut PgConnection) -> Result<Vec<(String, String, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT topic, reason, count(*) FROM inbox.dead_letters GROUP BY topic, reason")
        .fetch_all(conn)
        .await
}

/// PostgreSQL's text has no NUL.
fn text(raw: &str) -> String {
    raw.replace('\0', "\u{fffd}")
}

/// The same for letters of one cause: words with a digit, which name an order, a SKU or an offset, don't count.
fn fingerprint(event_type: Option<&str>, reason: &str, detail: &str) -> String {
    let mut hash = Sha256::new();
    let words =
        detail.split_whitespace().filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()));
    for part in [event_type.unwrap_or_default(), reason].into_iter().chain(words) {
        hash.update(part);
        hash.update([0]);
    }
    let hash: [u8; 32] = hash.finalize().into();
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_has_one_fingerprint_whatever_it_met() {
        let of = |detail| fingerprint(Some("example.parcels.ParcelSent"), "data_error", detail);
        assert_eq!(of("order 17 is refused"), of("order 18 is refused"));
        assert_ne!(of("order 17 is refused"), of("order 17 is unknown"));
        assert_ne!(of("order 17 is refused"), fingerprint(None, "data_error", "order 17 is refused"));
    }
}
