//! The statements of a redrive on dead letters, their keys and the audit.

use database::{Database, Operation};
use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

use crate::dead_letters;
use crate::error_policy::Rejection;

/// What the audit calls an act.
pub(super) const REDRIVE: &str = "redrive";
pub(super) const DISCARD: &str = "discard";

/// A dead letter, as it came.
#[derive(FromRow)]
pub(super) struct Letter {
    pub(super) id: i64,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) log: i32,
    pub(super) key: Option<Vec<u8>>,
    pub(super) event_id: Uuid,
    pub(super) event_type: Option<String>,
    pub(super) reason: String,
    /// The outcome of its id in the inbox.
    pub(super) outcome: String,
    pub(super) header_names: Vec<String>,
    pub(super) header_values: Vec<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
}

/// A record without a key has no order to keep: it is redriven alone.
pub(super) async fn oldest(
    database: &Database,
    id: i64,
    topic: &str,
    key: Option<&[u8]>,
) -> Result<Option<Letter>, sqlx::Error> {
    sqlx::query_as(
        r#"SELECT id, topic, partition, "offset", log, key, event_id, event_type, reason,
               (SELECT e.outcome FROM inbox.events e WHERE e.event_id = d.event_id) AS outcome, header_names,
               header_values, value
           FROM inbox.dead_letters d
           WHERE topic = $2 AND (key_digest = sha256($3) OR $3 IS NULL AND id = $1) ORDER BY id LIMIT 1"#,
    )
    .bind(id)
    .bind(topic)
    .bind(key)
    .fetch_optional(database.statement(Operation::Batch))
    .await
}

/// The oldest letters of keys, behind `after`, that wait for a release which knows these types, or that such a release has
/// left behind; a page of them.
pub(super) async fn heads_for_release(
    database: &Database,
    after: i64,
    known: &[&str],
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT d.id FROM inbox.dead_letters d
         WHERE d.id > $1
           AND (d.reason = 'unknown_event_type' AND d.event_type = ANY($2)
                OR d.reason = 'behind_dead_letter' AND 'release' = (
                    SELECT a.actor FROM inbox.dead_letter_audit a
                    WHERE a.topic = d.topic AND a.key_digest = d.key_digest ORDER BY a.id DESC LIMIT 1))
           AND NOT EXISTS (
               SELECT FROM inbox.dead_letters o
               WHERE o.topic = d.topic AND o.key_digest = d.key_digest AND o.id < d.id)
         ORDER BY d.id LIMIT 100",
    )
    .bind(after)
    .bind(known)
    .fetch_all(database.statement(Operation::Maintenance))
    .await
}

pub(super) async fn waiting(
    database: &Database,
    id: i64,
    topic: &str,
    key: Option<&[u8]>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM inbox.dead_letters
         WHERE topic = $2 AND (key_digest = sha256($3) OR $3 IS NULL AND id = $1)",
    )
    .bind(id)
    .bind(topic)
    .bind(key)
    .fetch_one(database.statement(Operation::Batch))
    .await
}

/// Locks the key, then the letter; `false` when it is no longer the oldest of its key.
pub(super) async fn lock(conn: &mut PgConnection, letter: &Letter) -> Result<bool, sqlx::Error> {
    if let Some(key) = &letter.key {
        dead_letters::lock_key(conn, &letter.topic, key).await?;
    }
    let oldest: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM inbox.dead_letters
         WHERE topic = $2 AND (key_digest = sha256($3) OR $3 IS NULL AND id = $1)
         ORDER BY id LIMIT 1 FOR UPDATE",
    )
    .bind(letter.id)
    .bind(&letter.topic)
    .bind(letter.key.as_deref())
    .fetch_optional(conn)
    .await?;
    Ok(oldest == Some(letter.id))
}

/// The letter goes; the last one of its key frees the key.
pub(super) async fn remove(conn: &mut PgConnection, letter: &Letter) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM inbox.dead_letters WHERE id = $1").bind(letter.id).execute(&mut *conn).await?;
    sqlx::query(
        "UPDATE inbox.dead_letter_keys SET open_letters = open_letters - 1
         WHERE topic = $1 AND key_digest = sha256($2)",
    )
    .bind(&letter.topic)
    .bind(letter.key.as_deref())
    .execute(conn)
    .await?;
    Ok(())
}

/// A transaction of its own: that of the redrive was rolled back. Only a letter that is still there is restated.
pub(super) async fn restate(
    database: &Database,
    letter: &Letter,
    event_type: Option<&str>,
    rejection: &Rejection,
    actor: &str,
) -> Result<(), sqlx::Error> {
    database
        .transaction(Operation::Batch, |mut tx| async move {
            if lock(&mut tx, letter).await? {
                dead_letters::restate(&mut tx, letter.id, event_type, rejection).await?;
                audit(&mut tx, letter, (actor, REDRIVE), Some(rejection.reason), "rejected").await?;
                tx.commit().await?;
            }
            Ok(())
        })
        .await
}

/// Notes who did what to a letter, and what came of it. `reason` is why it was rejected; else the letter's own stands.
pub(super) async fn audit(
    conn: &mut PgConnection,
    letter: &Letter,
    (actor, action): (&str, &str),
    reason: Option<&str>,
    result: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        r#"INSERT INTO inbox.dead_letter_audit
               (actor, action, event_id, dead_letter_id, topic, partition, "offset", key_digest, reason, result)
           VALUES ($1, $2, $3, $4, $5, $6, $7, sha256($8), $9, $10)"#,
    )
    .bind(actor)
    .bind(action)
    .bind(letter.event_id)
    .bind(letter.id)
    .bind(&letter.topic)
    .bind(letter.partition)
    .bind(letter.offset)
    .bind(letter.key.as_deref())
    .bind(reason.unwrap_or(&letter.reason))
    .bind(result)
    .execute(conn)
    .await?;
    Ok(())
}
