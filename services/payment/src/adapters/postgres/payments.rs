//! The table `payments`: rows locked in order, and written back together.

use chrono::{DateTime, Utc};
use contracts::Topic;
use contracts::clock::now;
use database::Statement;
use events::PublishError;
use outbox::{Numbered, expect_stored};
use service::corrupt_rows;
use sqlx::types::Json;
use sqlx::{Executor, PgConnection, Postgres};
use uuid::Uuid;

use super::row::{CorruptRow, PaymentRow};
use crate::application::saga_job::{PAYMENTS, SagaJob};

/// Locks the rows of these orders, in order.
pub(super) async fn lock(
    conn: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<Vec<Result<SagaJob, CorruptRow>>, sqlx::Error> {
    let rows: Vec<PaymentRow> = sqlx::query_as(
        "SELECT order_id, payment_id, state, call_state, amount_minor, currency, payment_method, authorization_id,
             capture_id, refund_id, refund_transaction_id, decline_reason, last_sequence, last_message_id, due_at,
             lease_id, attempts, correlation_id, causation_id, user_id, traceparent, tracestate, updated_at
         FROM payments WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE",
    )
    .bind(order_ids)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(PaymentRow::into_job).collect())
}

/// A row as it was locked.
#[derive(sqlx_macros::FromRow)]
struct LockedRow {
    #[sqlx(flatten)]
    row: PaymentRow,
    /// By this transaction.
    is_inserted: bool,
}

/// Inserts the rows of those of these orders (each once) that have none, and locks all of them, in order (docs/adr/0007);
/// gives the orders of those that were inserted, too.
pub(super) async fn insert_or_lock(
    conn: &mut PgConnection,
    order_ids: &[Uuid],
    payment_ids: &[Uuid],
) -> Result<(Vec<Result<SagaJob, CorruptRow>>, Vec<Uuid>), sqlx::Error> {
    let rows: Vec<LockedRow> = sqlx::query_as(
        "WITH inserted AS (
             INSERT INTO payments (order_id, payment_id, state, updated_at)
             SELECT order_id, payment_id, 'unknown', $3
             FROM UNNEST($1::uuid[], $2::uuid[]) AS missing (order_id, payment_id)
             ORDER BY order_id
             ON CONFLICT (order_id) DO NOTHING
             RETURNING order_id, payment_id, state, call_state, amount_minor, currency, payment_method, authorization_id,
                 capture_id, refund_id, refund_transaction_id, decline_reason, last_sequence, last_message_id, due_at,
                 lease_id, attempts, correlation_id, causation_id, user_id, traceparent, tracestate, updated_at
         ), locked AS (
             SELECT order_id, payment_id, state, call_state, amount_minor, currency, payment_method, authorization_id,
                 capture_id, refund_id, refund_transaction_id, decline_reason, last_sequence, last_message_id, due_at,
                 lease_id, attempts, correlation_id, causation_id, user_id, traceparent, tracestate, updated_at
             FROM payments
             WHERE order_id = ANY($1)
               AND (SELECT count(*) FROM inserted)
                   + (SELECT count(*) FROM payments WHERE order_id = ANY($1)) = cardinality($1)
             ORDER BY order_id FOR UPDATE
         )
         SELECT *, true AS is_inserted FROM inserted UNION ALL SELECT *, false FROM locked",
    )
    .bind(order_ids)
    .bind(payment_ids)
    .bind(now())
    .fetch_all(&mut *conn)
    .await?;
    let inserted = rows.iter().filter(|row| row.is_inserted).map(|row| row.row.order_id).collect();
    if rows.len() < order_ids.len() {
        return Ok((lock(conn, order_ids).await?, inserted));
    }
    Ok((rows.into_iter().map(|row| row.row.into_job()).collect(), inserted))
}

/// The jobs of those rows that can be read. The others, which the caller holds locked as well, are reported and due again
/// later: they stop no other payment.
pub(super) async fn set_corrupt_aside(
    conn: &mut PgConnection,
    locked: impl IntoIterator<Item = Result<SagaJob, CorruptRow>>,
    now: DateTime<Utc>,
) -> Result<Vec<SagaJob>, sqlx::Error> {
    let (mut jobs, mut corrupt) = (Vec::new(), Vec::new());
    for row in locked {
        match row {
            Ok(job) => jobs.push(job),
            Err(error) => {
                corrupt_rows::report(PAYMENTS, &error.order_id, &error);
                corrupt.push(error.order_id);
            }
        }
    }
    if !corrupt.is_empty() {
        sqlx::query("UPDATE payments SET due_at = $2, lease_id = NULL WHERE order_id = ANY($1) AND due_at IS NOT NULL")
            .bind(corrupt)
            .bind(now + corrupt_rows::SET_ASIDE)
            .execute(conn)
            .await?;
    }
    Ok(jobs)
}

/// Writes the jobs back to their rows, which the caller holds locked, with the messages that they got.
/// Fails when a row has published since it was read.
pub(super) async fn update<'a>(
    conn: &mut PgConnection,
    jobs: impl Iterator<Item = &'a SagaJob>,
    numbered: &Numbered,
) -> Result<(), PublishError> {
    let writes: Vec<Write> = jobs.map(|job| Write::of(job, numbered)).collect();
    if writes.is_empty() {
        return Ok(());
    }
    Ok(expect_stored(write(conn, &writes).await?, writes.len())?)
}

/// Writes a job that publishes nothing back to its row, if the row is as it was leased; says whether it was. The caller holds no
/// lock: one row is locked by this statement alone, and waits for nobody who waits for it.
pub(super) async fn update_leased(
    statement: Statement<'_>,
    job: &SagaJob,
    leased: &SagaJob,
) -> Result<bool, sqlx::Error> {
    let only = Write { under: Some(leased), ..Write::of(job, &Numbered::default()) };
    Ok(write(statement, &[only]).await? == 1)
}

/// A row as it is to be.
struct Write<'a> {
    row: PaymentRow,
    last_message_id: Option<i64>,
    /// Only while this is what is stored.
    under: Option<&'a SagaJob>,
}

impl Write<'_> {
    fn of(job: &SagaJob, numbered: &Numbered) -> Self {
        let row = PaymentRow::from_job(job);
        let last = numbered.last_message_id(Topic::Payments.suffix(), &row.order_id.to_string());
        Self { last_message_id: last.or(row.last_message_id), row, under: None }
    }
}

/// Gives how many rows were as expected, and are written.
async fn write<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    writes: &[Write<'_>],
) -> Result<u64, sqlx::Error> {
    let rows: Vec<&PaymentRow> = writes.iter().map(|write| &write.row).collect();
    let order_ids: Vec<Uuid> = rows.iter().map(|row| row.order_id).collect();
    let before: Vec<Option<i64>> = rows.iter().map(|row| row.last_message_id).collect();
    let last: Vec<Option<i64>> = writes.iter().map(|write| write.last_message_id).collect();
    let lease_ids = writes.iter().map(|write| write.under.and_then(|leased| leased.lease_id));
    let attempts = writes.iter().map(|write| write.under.map(|leased| leased.attempts));
    let stored = sqlx::query(
        "UPDATE payments SET
             state = new.state, call_state = new.call_state,
             amount_minor = new.amount_minor, currency = new.currency, payment_method = new.payment_method,
             authorization_id = new.authorization_id, capture_id = new.capture_id,
             refund_id = new.refund_id, refund_transaction_id = new.refund_transaction_id,
             decline_reason = new.decline_reason, last_sequence = new.last_sequence,
             last_message_id = link.last_message_id,
             due_at = new.due_at, lease_id = new.lease_id, attempts = new.attempts,
             correlation_id = new.correlation_id, causation_id = new.causation_id, user_id = new.user_id,
             traceparent = new.traceparent, tracestate = new.tracestate, updated_at = new.updated_at,
             step_began_at = CASE
                 WHEN new.due_at IS NULL THEN NULL
                 WHEN payments.state = new.state AND payments.step_began_at IS NOT NULL THEN payments.step_began_at
                 ELSE new.updated_at
             END
         FROM jsonb_populate_recordset(NULL::payments, $1) AS new
         JOIN unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::uuid[], $6::integer[])
             AS link (order_id, last_message_id, message_id_before, leased_by, attempts_before) USING (order_id)
         WHERE payments.order_id = new.order_id AND payments.last_message_id IS NOT DISTINCT FROM link.message_id_before
             AND (link.leased_by IS NULL
                  OR payments.lease_id = link.leased_by AND payments.attempts = link.attempts_before)",
    )
    .bind(Json(&rows))
    .bind(&order_ids)
    .bind(last)
    .bind(before)
    .bind(lease_ids.collect::<Vec<_>>())
    .bind(attempts.collect::<Vec<_>>())
    .execute(executor)
    .await?;
    Ok(stored.rows_affected())
}
