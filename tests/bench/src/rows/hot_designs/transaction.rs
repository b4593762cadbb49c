//! One transaction of inventory: orders inserted and locked, units locked, both stored, and the events appended.

use contracts::clock;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::design::{Design, Wait};

/// What an event has.
const EVENT_BYTES: i32 = 300;

/// Reserves a unit for each of so many new orders; gives how many got one. What others have locked is skipped first; if too little
/// is left, the transaction begins anew and waits, because what others have locked may come back.
pub(super) async fn reserve(
    conn: &mut PgConnection,
    design: Design,
    orders: usize,
) -> Result<usize, sqlx::Error> {
    let mut order_ids: Vec<Uuid> = (0..orders).map(|_| clock::new_id()).collect();
    order_ids.sort_unstable();
    match reserve_once(conn, design, &order_ids, Wait::Never).await? {
        Some(reserved) => Ok(reserved),
        None => Ok(reserve_once(conn, design, &order_ids, Wait::ForAll).await?.unwrap_or_default()),
    }
}

/// None where it has found too little without waiting; nothing has changed then.
async fn reserve_once(
    conn: &mut PgConnection,
    design: Design,
    order_ids: &[Uuid],
    wait: Wait,
) -> Result<Option<usize>, sqlx::Error> {
    let wanted = i64::try_from(order_ids.len()).unwrap_or(i64::MAX);
    let mut tx = conn.begin().await?;
    sqlx::query("INSERT INTO reservations (order_id, state) SELECT id, 'new' FROM unnest($1::uuid[]) AS id ORDER BY id")
        .bind(order_ids)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "SELECT order_id, state FROM reservations WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE",
    )
    .bind(order_ids)
    .fetch_all(&mut *tx)
    .await?;
    // Random: the last bits of the id of an order.
    let turn = order_ids.first().map_or(0, |id| i64::from(id.as_bytes()[15]));
    let locked = design.lock(&mut tx, wanted, wait, turn).await?;
    let is_short = locked.units < wanted;
    if is_short && wait == Wait::Never && design != Design::OneRow {
        tx.rollback().await?;
        return Ok(None);
    }
    let reserved = usize::try_from(locked.units).unwrap_or_default();
    let states: Vec<&str> =
        (0..order_ids.len()).map(|place| if place < reserved { "reserved" } else { "rejected" }).collect();
    sqlx::query(
        "UPDATE reservations r SET state = new.state, lines = '{\"HOT\": 1}'
         FROM unnest($1::uuid[], $2::text[]) AS new (order_id, state) WHERE r.order_id = new.order_id",
    )
    .bind(order_ids)
    .bind(states)
    .execute(&mut *tx)
    .await?;
    if reserved > 0 {
        design.take(&mut tx, &locked, &order_ids[..reserved]).await?;
    }
    sqlx::query("INSERT INTO messages (key, value) SELECT id, convert_to(repeat('x', $2), 'UTF8') FROM unnest($1::uuid[]) AS id")
        .bind(order_ids)
        .bind(EVENT_BYTES)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Some(reserved))
}
