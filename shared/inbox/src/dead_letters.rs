//! Dead letters: what can't be applied is kept with its reason and bytes, and its key's later records wait behind it.
//!
//! Invariant: each transaction that writes a letter, asks whether a key has open ones, or redrives locks the key's row in
//! `dead_letter_keys`, so that no record slips past one that waits before it. The row stays, with the number of open
//! letters, so that there is always something to lock.

use std::collections::HashSet;

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
    pub(crate) record: &'a Delivered,
    /// Its own id, or the one that was made for it.
    pub(crate) event_id: Uuid,
    pub(crate) event_type: Option<&'a str>,
    pub(crate) rejection: Rejection,
    /// Its outcome in `inbox.events`.
    pub(crate) outcome: &'static str,
}

/// Locks the rows of those of these keys that have or had letters, and gives the keys with open ones.
pub(crate) async fn lock_keys(
    conn: &mut PgConnection,
    topic: &str,
    keys: &[&[u8]],
) -> Result<HashSet<Vec<u8>>, sqlx::Error> {
    let locked: Vec<(Vec<u8>, i32)> = sqlx::query_as(
        "SELECT k.key, d.open_letters
         FROM inbox.dead_letter_keys d JOIN unnest($2::bytea[]) AS k (key) ON d.key_digest = sha256(k.key)
         WHERE d.topic = $1 ORDER BY d.key_digest FOR UPDATE OF d",
    )
    .bind(topic)
    .bind(keys)
    .fetch_all(conn)
    .await?;
    Ok(locked.into_iter().filter(|(_, open_letters)| *open_letters > 0).map(|(key, _)| key).collect())
}

/// Writes these letters in this order, and their outcome to the rows of their ids, which this transaction has inserted.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    log: i32,
    letters: &[NewDeadLetter<'_>],
) -> Result<(), sqlx::Error> {
    let keys: Vec<&[u8]> = letters.iter().filter_map(|letter| letter.record.key.as_deref()).collect();
    sqlx::query(
        "INSERT INTO inbox.dead_letter_keys (topic, key_digest, open_letters)
         SELECT $1, sha256(k.key), count(*) FROM unnest($2::bytea[]) AS k (key) GROUP BY 2 ORDER BY 2
         ON CONFLICT (topic, key_digest)
             DO UPDATE SET open_letters = dead_letter_keys.open_letters + excluded.open_letters",
    )
    .bind(&partition.topic)
    .bind(&keys)
    .execute(&mut *conn)
    .await?;
    for letter in letters {
        insert_one(conn, partition, log, letter).await?;
    }
    let ids: Vec<Uuid> = letters.iter().map(|letter| letter.event_id).collect();
    let outcomes: Vec<&str> = letters.iter().map(|letter| letter.outcome).collect();
    seen::set_outcomes(conn, &ids, &outcomes).await
}

async fn insert_one(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    log: i32,
    letter: &NewDeadLetter<'_>,
) -> Result<(), sqlx::Error> {
    let NewDeadLetter { record, event_id, event_type, rejection, .. } = letter;
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
