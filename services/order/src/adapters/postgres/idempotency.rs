//! The table `idempotency_keys`: what each key was answered.

use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

use super::StoreError;
use crate::application::{Answer, CustomerKey, PlaceOutcome};
use crate::domain::OrderId;

/// Inserts the key with its answer; false if it exists. A concurrent request with the same key waits here until the
/// first has committed.
pub(super) async fn insert(
    conn: &mut PgConnection,
    key: &CustomerKey,
    order_id: OrderId,
    answer: &Answer,
) -> Result<bool, sqlx::Error> {
    let inserted: Option<Uuid> = sqlx::query_scalar(
        "INSERT INTO idempotency_keys (customer_id, key, request, order_id, status_code, etag, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (customer_id, key) DO NOTHING
         RETURNING order_id",
    )
    .bind(key.customer_id.as_str())
    .bind(&key.key)
    .bind(&key.request)
    .bind(order_id.0)
    .bind(i16::try_from(answer.status_code).unwrap_or(i16::MAX))
    .bind(&answer.etag)
    .bind(&answer.body)
    .fetch_optional(conn)
    .await?;
    Ok(inserted.is_some())
}

#[derive(FromRow)]
struct StoredAnswer {
    same_request: bool,
    order_id: Uuid,
    status_code: i16,
    etag: String,
    body: String,
}

/// The stored answer. A statement of its own: in the one that inserts, a request that came second sees no row at all.
///
/// Requests are compared by meaning: another release may know fields that this one does not, and an absent field, one
/// that is null and one that has its default are the same (docs/adr/0012).
pub(super) async fn stored(conn: &mut PgConnection, key: &CustomerKey) -> Result<PlaceOutcome, StoreError> {
    let stored: StoredAnswer = sqlx::query_as(
        "SELECT jsonb_strip_nulls(request) = jsonb_strip_nulls($3) AS same_request, order_id, status_code, etag, body
         FROM idempotency_keys
         WHERE customer_id = $1 AND key = $2",
    )
    .bind(key.customer_id.as_str())
    .bind(&key.key)
    .bind(&key.request)
    .fetch_one(conn)
    .await?;
    if !stored.same_request {
        return Ok(PlaceOutcome::KeyReused);
    }
    let answer = Answer {
        status_code: u16::try_from(stored.status_code).unwrap_or_default(),
        etag: stored.etag,
        body: stored.body,
    };
    Ok(PlaceOutcome::Replayed { order_id: OrderId(stored.order_id), answer })
}
