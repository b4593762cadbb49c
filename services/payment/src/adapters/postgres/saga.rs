//! The saga's steps in the table: leased with SKIP LOCKED, answers stored with what follows from them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use contracts::Cause;
use contracts::clock::{new_id, now};
use database::{Database, Operation, Transaction};
use events::{PublishError, Publisher};
use outbox::{Message, Numbered};
use uuid::Uuid;

use super::row::PaymentRow;
use super::{lock, update};
use crate::adapters::contract;
use crate::adapters::metrics::{Outcomes, begin_counters};
use crate::application::Entry;
use crate::application::perform_steps::{SagaStore, StoreError};
use crate::application::record_reports::{LeasePolicy, Leased, Performed};
use crate::domain::{OrderId, RefundId};

/// The saga's store in PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresSaga {
    database: Database,
    outbox: Publisher,
    policy: LeasePolicy,
}

impl PostgresSaga {
    /// Steps of the payments in `database`, publishing through `outbox`.
    #[must_use]
    pub fn new(database: Database, outbox: Publisher, policy: LeasePolicy) -> Self {
        begin_counters();
        Self { database, outbox, policy }
    }

    async fn lease_due(&self, mut tx: Transaction, limit: usize) -> Result<Vec<Leased>, PublishError> {
        let (now, lease_id) = (now(), new_id());
        let rows: Vec<PaymentRow> = sqlx::query_as(
            "SELECT order_id, payment_id, state, call_state, amount_minor, currency, payment_method, authorization_id,
                 capture_id, refund_id, refund_transaction_id, decline_reason, last_sequence, last_message_id, due_at,
                 lease_id, attempts, correlation_id, causation_id, user_id, traceparent, tracestate, updated_at
             FROM payments WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED",
        )
        .bind(now)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        let mut leased = Vec::with_capacity(rows.len());
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows {
            let mut entry = row.into_entry()?;
            leased.extend(entry.lease(lease_id, now, self.policy));
            entries.push(entry);
        }
        update(&mut tx, &entries, &Numbered::default()).await?;
        tx.commit().await?;
        Ok(leased)
    }

    async fn any_waiting(&self) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM payments WHERE due_at IS NOT NULL
                 AND (due_at <= $1 OR lease_id IS NULL AND attempts > 0))",
        )
        .bind(now())
        .fetch_one(self.database.statement(Operation::Worker))
        .await
    }

    async fn record_all(
        &self,
        mut tx: Transaction,
        performed: &[Performed],
        go_on: bool,
    ) -> Result<(Vec<Leased>, Outcomes), PublishError> {
        let (now, lease_id) = (now(), new_id());
        let mut by_order: BTreeMap<OrderId, Performed> =
            performed.iter().map(|performed| (performed.order_id, performed.clone())).collect();
        let order_ids: Vec<Uuid> = by_order.keys().map(|order_id| order_id.0).collect();
        let mut messages = Vec::new();
        let mut entries = Vec::with_capacity(order_ids.len());
        let mut leased = Vec::new();
        let mut outcomes = Outcomes::default();
        for found in lock(&mut tx, &order_ids).await? {
            let Some(performed) = by_order.remove(&found.payment.order_id) else { continue };
            if found.lease_id != Some(performed.lease_id) {
                tracing::info!(order_id = %found.payment.order_id.0, step = %performed.step, "an answer came after its lease had ended; whoever took the step over finds it by its key");
                continue;
            }
            let mut entry = found.clone();
            let event = entry.record(performed, now, RefundId(new_id()), self.policy);
            if let Some(event) = event {
                match self.encode(&mut entry, &event) {
                    Ok(message) => {
                        messages.extend(message);
                        outcomes.note(&event);
                    }
                    Err(error) => {
                        tracing::error!(order_id = %found.payment.order_id.0, error = &error as &dyn std::error::Error, "what follows from a step can't be published; the step is tried again");
                        entries.push(Entry {
                            lease_id: None,
                            due_at: Some(now + self.policy.backoff_max),
                            ..found
                        });
                        continue;
                    }
                }
            }
            if go_on && entry.due_at.is_some_and(|due_at| due_at <= now) {
                leased.extend(entry.lease(lease_id, now, self.policy));
            }
            entries.push(entry);
        }
        let numbered = self.outbox.number(&mut tx, messages).await?;
        update(&mut tx, &entries, &numbered).await?;
        self.outbox.append(&mut tx, &numbered).await?;
        tx.commit().await?;
        if !numbered.is_empty() {
            self.outbox.wake();
        }
        Ok((leased, outcomes))
    }

    /// The event as it will be published, with the next sequence of its order's key.
    fn encode(
        &self,
        entry: &mut Entry,
        event: &crate::domain::PaymentEvent,
    ) -> Result<Option<Message>, PublishError> {
        let sequence = entry.last_sequence + 1;
        let Some(event) = contract::publish(&entry.payment, event, sequence, new_id(), entry.updated_at)
        else {
            return Ok(None);
        };
        entry.last_sequence = sequence;
        let cause = entry.cause.clone().unwrap_or_else(|| Cause {
            correlation_id: entry.payment.payment_id.0,
            causation_id: None,
            user_id: None,
            trace: contracts::TraceContext::default(),
        });
        self.outbox.encode(&event, &cause, entry.last_message_id).map(Some)
    }
}

#[async_trait]
impl SagaStore for PostgresSaga {
    async fn lease(&self, limit: usize) -> Result<Vec<Leased>, StoreError> {
        let leasing = self.database.transaction(Operation::Worker, |tx| self.lease_due(tx, limit));
        leasing.await.map_err(|error| StoreError { action: "leased", source: Box::new(error) })
    }

    async fn is_waiting(&self) -> Result<bool, StoreError> {
        self.any_waiting().await.map_err(|error| StoreError { action: "counted", source: Box::new(error) })
    }

    async fn record(&self, performed: &[Performed], go_on: bool) -> Result<Vec<Leased>, StoreError> {
        let recording =
            self.database.transaction(Operation::Worker, |tx| self.record_all(tx, performed, go_on));
        let (leased, outcomes) =
            recording.await.map_err(|error| StoreError { action: "recorded", source: Box::new(error) })?;
        outcomes.add();
        Ok(leased)
    }
}
