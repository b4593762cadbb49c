//! The statement that stores the reservations and levels that have changed.

use events::{PublishError, Row};
use inbox::Locked;
use outbox::{Numbered, expect_stored};
use sqlx::{PgConnection, Row as _};

use super::{reservations, stock};
use crate::domain::{OrderId, Reservation, Sku, StockLevel};

/// Stores what has changed of these rows, which the transaction has locked. One statement: neither part reads what the other one
/// writes.
///
/// # Errors
/// When a row has published since it was read, or the database refuses.
pub(super) async fn store(
    conn: &mut PgConnection,
    reservations: &Locked<OrderId, Row<Reservation>>,
    stock: &Locked<Sku, Row<StockLevel>>,
    numbered: &Numbered,
) -> Result<(), PublishError> {
    let store = sqlx::query(
        "WITH orders AS (
             UPDATE reservations r
             SET state = n.state, lines = n.lines, last_sequence = n.last_sequence,
                 last_message_id = n.last_message_id
             FROM unnest($1::uuid[], $2::text[], $3::jsonb[], $4::bigint[], $5::bigint[], $6::bigint[])
                 AS n (order_id, state, lines, last_sequence, last_message_id, message_id_before)
             WHERE r.order_id = n.order_id AND r.last_message_id IS NOT DISTINCT FROM n.message_id_before
             RETURNING 1
         ), skus AS (
             UPDATE stock s
             SET replenished = n.replenished, available = n.available, reserved = n.reserved,
                 committed = n.committed, reorder_threshold = n.reorder_threshold,
                 last_sequence = n.last_sequence, last_message_id = n.last_message_id
             FROM unnest($7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[],
                     $13::bigint[], $14::bigint[], $15::bigint[])
                 AS n (sku, replenished, available, reserved, committed, reorder_threshold, last_sequence,
                     last_message_id, message_id_before)
             WHERE s.sku = n.sku AND s.last_message_id IS NOT DISTINCT FROM n.message_id_before
             RETURNING 1
         )
         SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM skus)",
    );
    let (store, orders) = reservations::bind_changed(store, reservations, numbered);
    let (store, skus) = stock::bind_changed(store, stock, numbered);
    if orders + skus == 0 {
        return Ok(());
    }
    let stored = store.fetch_one(conn).await?;
    for (column, expected) in [(0, orders), (1, skus)] {
        let stored: i64 = stored.try_get(column)?;
        expect_stored(u64::try_from(stored).unwrap_or_default(), expected)?;
    }
    Ok(())
}
