//! The saga's steps as a job queue in the table `payments`: leased with SKIP LOCKED, answers stored with the events that
//! follow from them.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::clock::{new_id, now};
use contracts::{Cause, TraceContext};
use database::{Database, Operation, Transaction};
use events::{PublishError, Publisher};
use outbox::{Message, Numbered};
use service::leases::{Holder, Room};
use sqlx::PgConnection;
use uuid::Uuid;

use super::payments::{lock, set_corrupt_aside, update, update_leased};
use super::row::PaymentRow;
use crate::adapters::contract;
use crate::adapters::metrics;
use crate::application::holders::{CUSTOMER, PAYMENT_METHOD};
use crate::application::saga_job::{LeasePolicy, Leased, Performed, SagaJob};
use crate::domain::{OrderId, PaymentEvent, RefundId};

#[derive(Clone, Debug)]
pub struct SagaStore {
    database: Database,
    outbox: Publisher,
    policy: LeasePolicy,
}

impl SagaStore {
    pub fn new(database: Database, outbox: Publisher, policy: LeasePolicy) -> Self {
        metrics::begin_counters();
        Self { database, outbox, policy }
    }

    /// Leases at most `limit` due steps; steps leased by others are skipped until their lease ends.
    pub async fn lease(&self, limit: usize) -> Result<Vec<Leased>, PublishError> {
        self.lease_within(&mut Room::of(limit)).await
    }

    /// The same, oldest first, of those that may take a place.
    pub async fn lease_within(&self, room: &mut Room) -> Result<Vec<Leased>, PublishError> {
        self.database.transaction(Operation::Worker, |tx| self.lease_due(tx, room)).await
    }

    /// After how long the first step is due; one that is leased is due when its lease ends.
    pub async fn next_due_in(&self) -> Result<Option<Duration>, sqlx::Error> {
        let due_at: Option<DateTime<Utc>> =
            sqlx::query_scalar("SELECT min(due_at) FROM payments WHERE due_at IS NOT NULL")
                .fetch_one(self.database.statement(Operation::Worker))
                .await?;
        Ok(due_at.map(|due_at| (due_at - now()).to_std().unwrap_or_default()))
    }

    /// Stores the answers and publishes what follows from them; with `go_on` also leases the steps that are due next.
    pub async fn record(&self, performed: &[Performed], go_on: bool) -> Result<Vec<Leased>, PublishError> {
        if let [only] = performed
            && let Some(leased) = self.record_only(only, go_on).await?
        {
            return Ok(leased);
        }
        let recording =
            self.database.transaction(Operation::Worker, |tx| self.record_all(tx, performed, go_on));
        let (leased, events) = recording.await?;
        events.iter().for_each(metrics::count);
        Ok(leased)
    }

    async fn lease_due(&self, mut tx: Transaction, room: &mut Room) -> Result<Vec<Leased>, PublishError> {
        let (now, lease_id) = (now(), new_id());
        let mut jobs = take_due(&mut tx, room, now).await?;
        let leased = jobs.iter_mut().filter_map(|job| job.lease(lease_id, now, self.policy)).collect();
        update(&mut tx, jobs.iter(), &Numbered::default()).await?;
        tx.commit().await?;
        Ok(leased)
    }

    /// Stores an answer that publishes nothing, by one statement. `None`, and nothing is stored, when it publishes something, or
    /// the row is not as the worker has leased it. Several rows are locked in their order instead.
    async fn record_only(
        &self,
        performed: &Performed,
        go_on: bool,
    ) -> Result<Option<Vec<Leased>>, PublishError> {
        let (now, mut job) = (now(), performed.job.clone());
        let recorded = job.record(performed.clone(), now, RefundId(new_id()), self.policy);
        if !matches!(recorded, Ok(None)) {
            return Ok(None);
        }
        let leased = if go_on { job.lease_next(new_id(), now, self.policy) } else { None };
        let statement = self.database.statement(Operation::Worker);
        let stored = update_leased(statement, &job, &performed.job).await?;
        Ok(stored.then(|| leased.into_iter().collect()))
    }

    async fn record_all(
        &self,
        mut tx: Transaction,
        performed: &[Performed],
        go_on: bool,
    ) -> Result<(Vec<Leased>, Vec<PaymentEvent>), PublishError> {
        let (now, lease_id) = (now(), new_id());
        let mut by_order: BTreeMap<OrderId, Performed> =
            performed.iter().map(|performed| (performed.order_id, performed.clone())).collect();
        let order_ids: Vec<Uuid> = by_order.keys().map(|order_id| order_id.0).collect();
        let (mut jobs, mut messages, mut leased, mut events) = (vec![], vec![], vec![], vec![]);
        let locked = lock(&mut tx, &order_ids).await?;
        for found in set_corrupt_aside(&mut tx, locked, now).await? {
            let Some(performed) = by_order.remove(&found.payment.order_id) else { continue };
            let (order_id, step) = (found.payment.order_id.0, performed.step);
            let mut job = found.clone();
            let Ok(event) = job.record(performed, now, RefundId(new_id()), self.policy) else {
                tracing::info!(%order_id, %step, "answer of the provider dropped: its lease has expired, and the step is resolved by its key");
                continue;
            };
            match event.as_ref().map(|event| self.encode(&mut job, event)).transpose() {
                Ok(message) => messages.extend(message.flatten()),
                Err(error) => {
                    tracing::error!(%order_id, %step, error = &error as &dyn std::error::Error, "event of a step can't be published; retrying the step");
                    let due_at = Some(now + self.policy.backoff.pause(u32::MAX));
                    jobs.push(SagaJob { lease_id: None, due_at, ..found });
                    continue;
                }
            }
            events.extend(event);
            if go_on {
                leased.extend(job.lease_next(lease_id, now, self.policy));
            }
            jobs.push(job);
        }
        let numbered = self.outbox.number(&mut tx, messages).await?;
        update(&mut tx, jobs.iter(), &numbered).await?;
        self.outbox.append(&mut tx, &numbered).await?;
        tx.commit().await?;
        if !numbered.is_empty() {
            self.outbox.wake();
        }
        Ok((leased, events))
    }

    /// The event as it is published, with the next sequence of its order's key.
    fn encode(&self, job: &mut SagaJob, event: &PaymentEvent) -> Result<Option<Message>, PublishError> {
        let cause = job.cause.clone().unwrap_or_else(|| Cause {
            correlation_id: job.payment.payment_id.0,
            causation_id: None,
            user_id: None,
            trace: TraceContext::default(),
        });
        let publish =
            |sequence| contract::publication(&job.payment, event, sequence, new_id(), job.updated_at);
        let publication = job.last_event.publish(&cause, publish);
        publication.map(|publication| self.outbox.encode(&publication)).transpose()
    }
}

/// Locks the oldest due steps that find a place. A page that fills no room had a step whose holder has its share by then, or a
/// corrupt one, and the next page leaves out the steps of those holders: few pages, however many steps they have.
async fn take_due(
    conn: &mut PgConnection,
    room: &mut Room,
    now: DateTime<Utc>,
) -> Result<Vec<SagaJob>, sqlx::Error> {
    let (mut jobs, mut after) = (Vec::new(), None);
    loop {
        let wanted = room.free();
        let rows = due_page(conn, room, now, after).await?;
        let is_last = rows.len() < wanted;
        after = rows.last().and_then(PaymentRow::due);
        let found = set_corrupt_aside(conn, rows.into_iter().map(PaymentRow::into_job), now).await?;
        jobs.extend(found.into_iter().filter(|job| room.take(&job.holders())));
        if is_last || room.free() == 0 {
            return Ok(jobs);
        }
    }
}

async fn due_page(
    conn: &mut PgConnection,
    room: &Room,
    now: DateTime<Utc>,
    after: Option<(DateTime<Utc>, Uuid)>,
) -> Result<Vec<PaymentRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT order_id, payment_id, state, call_state, amount_minor, currency, payment_method, authorization_id,
             capture_id, refund_id, refund_transaction_id, decline_reason, last_sequence, last_message_id, due_at,
             lease_id, attempts, correlation_id, causation_id, user_id, traceparent, tracestate, updated_at
         FROM payments
         WHERE due_at <= $1
             AND ($2::timestamptz IS NULL OR (due_at, order_id) > ($2, $3::uuid))
             AND COALESCE(payment_method, '') <> ALL($4)
             AND COALESCE(user_id, '') <> ALL($5)
             AND (attempts = 0 OR NOT $6)
         ORDER BY due_at, order_id LIMIT $7 FOR UPDATE SKIP LOCKED",
    )
    .bind(now)
    .bind(after.map(|(due_at, _)| due_at))
    .bind(after.map(|(_, order_id)| order_id))
    .bind(room.full(PAYMENT_METHOD))
    .bind(room.full(CUSTOMER))
    .bind(!room.full(Holder::RETRY).is_empty())
    .bind(i64::try_from(room.free()).unwrap_or(i64::MAX))
    .fetch_all(conn)
    .await
}
