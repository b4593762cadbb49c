//! The table `idempotency_keys`: what each key was answered.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use sqlx::types::Json;
use sqlx_macros::FromRow;
use uuid::Uuid;

use super::{Announced, StoreError};
use crate::application::{Answer, PlaceOutcome, Placing};
use crate::domain::{OrderId, Placement};

/// Inserts the keys with their answers; gives the orders of those that did not exist. A concurrent request with the same key waits
/// here until the first has committed. In the order of the keys, so that two transactions never wait for each other crosswise.
pub(super) async fn insert(
    conn: &mut PgConnection,
    placings: &[Placing<Announced>],
) -> Result<HashSet<OrderId>, sqlx::Error> {
    let status_code = |answer: &Answer| i16::try_from(answer.status_code).unwrap_or(i16::MAX);
    let inserted: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO idempotency_keys (customer_id, key, request, order_id, status_code, etag, body)
         SELECT customer_id, key, request, order_id, status_code, etag, body
         FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::uuid[], $5::smallint[], $6::text[], $7::text[])
              AS new (customer_id, key, request, order_id, status_code, etag, body)
         ORDER BY customer_id, key
         ON CONFLICT (customer_id, key) DO NOTHING
         RETURNING order_id",
    )
    .bind(placings.iter().map(|placing| placing.key.customer_id.as_str()).collect::<Vec<&str>>())
    .bind(placings.iter().map(|placing| placing.key.key.as_str()).collect::<Vec<&str>>())
    .bind(placings.iter().map(|placing| Json(&*placing.request)).collect::<Vec<Json<&Placement>>>())
    .bind(placings.iter().map(|placing| placing.order_id.0).collect::<Vec<Uuid>>())
    .bind(placings.iter().map(|placing| status_code(&placing.answer)).collect::<Vec<i16>>())
    .bind(placings.iter().map(|placing| placing.answer.etag.as_str()).collect::<Vec<&str>>())
    .bind(placings.iter().map(|placing| placing.answer.body.as_str()).collect::<Vec<&str>>())
    .fetch_all(conn)
    .await?;
    Ok(inserted.into_iter().map(OrderId).collect())
}

#[derive(FromRow)]
struct StoredAnswer {
    asked_for: Uuid,
    same_request: bool,
    order_id: Uuid,
    status_code: i16,
    etag: String,
    body: String,
}

/// The stored answers, by the order that each request would have placed. A statement of its own: in the one that inserts, a request
/// that came second sees no row at all.
///
/// Requests are compared by meaning: another release may know fields that this one does not, and an absent field, one
/// that is null and one that has its default are the same (docs/adr/0012).
pub(super) async fn stored(
    conn: &mut PgConnection,
    placings: &[&Placing<Announced>],
) -> Result<HashMap<OrderId, PlaceOutcome>, StoreError> {
    if placings.is_empty() {
        return Ok(HashMap::new());
    }
    let stored: Vec<StoredAnswer> = sqlx::query_as(
        "SELECT asked.order_id AS asked_for,
                jsonb_strip_nulls(stored.request) = jsonb_strip_nulls(asked.request) AS same_request,
                stored.order_id, stored.status_code, stored.etag, stored.body
         FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::uuid[]) AS asked (customer_id, key, request, order_id)
         JOIN idempotency_keys stored USING (customer_id, key)",
    )
    .bind(placings.iter().map(|placing| placing.key.customer_id.as_str()).collect::<Vec<&str>>())
    .bind(placings.iter().map(|placing| placing.key.key.as_str()).collect::<Vec<&str>>())
    .bind(placings.iter().map(|placing| Json(&*placing.request)).collect::<Vec<Json<&Placement>>>())
    .bind(placings.iter().map(|placing| placing.order_id.0).collect::<Vec<Uuid>>())
    .fetch_all(conn)
    .await?;
    if stored.len() < placings.len() {
        return Err(sqlx::Error::RowNotFound.into());
    }
    Ok(stored.into_iter().map(StoredAnswer::outcome).collect())
}

impl StoredAnswer {
    fn outcome(self) -> (OrderId, PlaceOutcome) {
        let asked_for = OrderId(self.asked_for);
        if !self.same_request {
            return (asked_for, PlaceOutcome::KeyReused);
        }
        let answer = Answer {
            status_code: u16::try_from(self.status_code).unwrap_or_default(),
            etag: self.etag,
            body: self.body,
        };
        (asked_for, PlaceOutcome::Replayed { order_id: OrderId(self.order_id), answer })
    }
}
