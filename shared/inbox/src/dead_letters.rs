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
use crate::seen;

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
#[derive(Debug, Default)]
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

/// Locks the rows of those of these keys (each once) that have or had letters, in one order, and gives the keys with open ones.
pub(crate) async fn lock_keys(
    conn: &mut PgConnection,
    keys: &[(&str, &[u8])],
) -> Result<Blocked, sqlx::Error> {
    let (topics, keys): (Vec<&str>, Vec<&[u8]>) = keys.iter().copied().unzip();
    let locked: Vec<(String, Vec<u8>, i32)> = sqlx::query_as(
        "SELECT d.topic, k.key, d.open_letters
         FROM inbox.dead_letter_keys d
         JOIN unnest($1::text[], $2::bytea[]) AS k (topic, key) ON d.topic = k.topic AND d.key_digest = sha256(k.key)
         ORDER BY d.topic, d.key_digest FOR UPDATE OF d",
    )
    .bind(topics)
    .bind(keys)
    .fetch_all(conn)
    .await?;
    let mut blocked = Blocked::default();
    for (topic, key, open_letters) in locked {
        if open_letters > 0 {
            blocked.insert(&topic, &key);
        }
    }
    Ok(blocked)
}

/// Writes these letters in this order, and their outcome to the rows of their ids, which this transaction has inserted.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    letters: &[NewDeadLetter<'_>],
) -> Result<(), sqlx::Error> {
    let with_key = |letter: &NewDeadLetter<'_>| {
        letter.record.key.as_ref().map(|key| (letter.partition.topic.clone(), key.clone()))
    };
    let (topics, keys): (Vec<String>, Vec<Vec<u8>>) = letters.iter().filter_map(with_key).unzip();
    sqlx::query(
        "INSERT INTO inbox.dead_letter_keys (topic, key_digest, open_letters)
         SELECT k.topic, sha256(k.key), count(*) FROM unnest($1::text[], $2::bytea[]) AS k (topic, key)
         GROUP BY 1, 2 ORDER BY 1, 2
         ON CONFLICT (topic, key_digest)
             DO UPDATE SET open_letters = dead_letter_keys.open_letters + excluded.open_letters",
    )
    .bind(topics)
    .bind(keys)
    .execute(&mut *conn)
    .await?;
    for letter in letters {
        insert_one(conn, letter).await?;
    }
    let ids: Vec<Uuid> = letters.iter().map(|letter| letter.event_id).collect();
    let outcomes: Vec<&str> = letters.iter().map(|letter| letter.outcome).collect();
    seen::set_outcomes(conn, &ids, &outcomes).await
}

async fn insert_one(conn: &mut PgConnection, letter: &NewDeadLetter<'_>) -> Result<(), sqlx::Error> {
    let NewDeadLetter { partition, log, record, event_id, event_type, rejection, .. } = letter;
    let (names, values): (Vec<&str>, Vec<&[u8]>) =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).unzip();
    let (event_type, detail) = (event_type.map(text), text(&rejection.detail));
    sqlx::query(
        r#"INSERT INTO inbox.dead_letters (event_id, topic, partition, "offset", log, key, event_type, reason, detail,
               fingerprint, header_names, header_values, value)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"#,
    )
    .bind(event_id)
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(record.offset)
    .bind(log)
    .bind(record.key.as_deref())
    .bind(&event_type)
    .bind(rejection.reason)
    .bind(&detail)
    .bind(fingerprint(event_type.as_deref(), rejection.reason, &detail))
    .bind(names)
    .bind(values)
    .bind(record.value.as_deref())
    .execute(conn)
    .await?;
    Ok(())
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
