//! The table `mails`, a job queue: inserted once per kind, leased with SKIP LOCKED, ended by the outcome.

use std::time::Duration;

use backoff::Backoff;
use chrono::{DateTime, Utc};
use contracts::TraceContext;
use contracts::clock::{new_id, now};
use database::{Database, Operation};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::adapters::metrics::{begin_counters, count};
use crate::adapters::rendering::Rendered;
use crate::application::mail::{Draft, Mail, Recipient};
use crate::application::mailer::{Delivery, SendError, Sent};
use crate::domain::OrderId;

/// A row to be inserted; the other columns have defaults.
#[derive(Serialize)]
struct NewMail<'a> {
    order_id: Uuid,
    kind: &'static str,
    message_id: &'a str,
    recipient_name: &'a str,
    recipient_email: &'a str,
    subject: &'a str,
    body_text: &'a str,
    body_html: &'a str,
    due_at: DateTime<Utc>,
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
    created_at: DateTime<Utc>,
}

/// Inserts the mails that are not there yet.
pub(super) async fn insert(conn: &mut PgConnection, mails: &[(Draft, Rendered)]) -> Result<(), sqlx::Error> {
    if mails.is_empty() {
        return Ok(());
    }
    let rows: Vec<NewMail<'_>> = mails
        .iter()
        .map(|(draft, rendered)| NewMail {
            order_id: draft.order_id.0,
            kind: draft.notification.kind(),
            message_id: &rendered.message_id,
            recipient_name: &draft.recipient.name,
            recipient_email: &draft.recipient.email,
            subject: &rendered.subject,
            body_text: &rendered.text,
            body_html: &rendered.html,
            due_at: draft.created_at,
            traceparent: draft.trace.traceparent.as_deref(),
            tracestate: draft.trace.tracestate.as_deref(),
            created_at: draft.created_at,
        })
        .collect();
    sqlx::query(
        "INSERT INTO mails (order_id, kind, message_id, recipient_name, recipient_email, subject, body_text,
                            body_html, due_at, traceparent, tracestate, created_at)
         SELECT order_id, kind, message_id, recipient_name, recipient_email, subject, body_text,
                body_html, due_at, traceparent, tracestate, created_at
         FROM jsonb_populate_recordset(NULL::mails, $1)
         ON CONFLICT (order_id, kind) DO NOTHING",
    )
    .bind(Json(rows))
    .execute(conn)
    .await?;
    Ok(())
}

#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// A worker that has not returned by then is considered dead.
    pub lease: Duration,
    pub backoff: Backoff,
    /// After so many refusals for its own sake a mail has failed. A fault of the transport has no limit: no mail is lost
    /// by it.
    pub max_attempts: i32,
}

#[derive(Clone, Debug)]
pub struct MailStore {
    database: Database,
    policy: RetryPolicy,
}

#[derive(sqlx_macros::FromRow)]
struct LeasedMail {
    order_id: Uuid,
    kind: String,
    message_id: String,
    recipient_name: String,
    recipient_email: String,
    subject: String,
    body_text: String,
    body_html: String,
    attempts: i32,
    refusals: i32,
    traceparent: Option<String>,
    tracestate: Option<String>,
    created_at: DateTime<Utc>,
}

/// The columns that an outcome changes.
#[derive(Serialize)]
struct Outcome<'a> {
    order_id: Uuid,
    kind: &'a str,
    lease_id: Uuid,
    state: &'static str,
    transport: Option<&'static str>,
    last_error: Option<&'a str>,
    refusals: i32,
    due_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
}

/// An outcome that is stored.
#[derive(sqlx_macros::FromRow)]
struct Recorded {
    order_id: Uuid,
    kind: String,
    state: String,
    last_error: Option<String>,
    created_at: DateTime<Utc>,
    completed_at: Option<DateTime<Utc>>,
}

impl MailStore {
    pub fn new(database: Database, policy: RetryPolicy) -> Self {
        begin_counters();
        Self { database, policy }
    }

    /// Leases at most `limit` due mails; mails leased by others are skipped until their lease ends.
    pub async fn lease(&self, limit: usize) -> Result<Vec<Mail>, sqlx::Error> {
        let (now, lease_id) = (now(), new_id());
        let rows: Vec<LeasedMail> = sqlx::query_as(
            "WITH due AS (
                 SELECT order_id, kind FROM mails WHERE due_at <= $1
                 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
             )
             UPDATE mails SET lease_id = $3, due_at = $4, attempts = attempts + 1
             FROM due WHERE mails.order_id = due.order_id AND mails.kind = due.kind
             RETURNING mails.order_id, mails.kind, message_id, recipient_name, recipient_email, subject,
                       body_text, body_html, attempts, refusals, traceparent, tracestate, created_at",
        )
        .bind(now)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(lease_id)
        .bind(now + self.policy.lease)
        .fetch_all(self.database.statement(Operation::Worker))
        .await?;
        Ok(rows.into_iter().map(|row| row.into_mail(lease_id)).collect())
    }

    /// After how long the first mail is due; one that is leased is due when its lease ends.
    pub async fn next_due_in(&self) -> Result<Option<Duration>, sqlx::Error> {
        let due_at: Option<DateTime<Utc>> =
            sqlx::query_scalar("SELECT min(due_at) FROM mails WHERE due_at IS NOT NULL")
                .fetch_one(self.database.statement(Operation::Worker))
                .await?;
        Ok(due_at.map(|due_at| (due_at - now()).to_std().unwrap_or_default()))
    }

    /// Stores the outcomes. A mail whose lease was taken over is left alone.
    pub async fn record(&self, sent: &[Sent]) -> Result<(), sqlx::Error> {
        let now = now();
        let outcomes: Vec<Outcome<'_>> = sent.iter().map(|sent| self.outcome(sent, now)).collect();
        let recorded: Vec<Recorded> = sqlx::query_as(
            "UPDATE mails SET state = new.state, transport = new.transport, last_error = new.last_error,
                    refusals = new.refusals, due_at = new.due_at, completed_at = new.completed_at, lease_id = NULL
             FROM jsonb_populate_recordset(NULL::mails, $1) AS new
             WHERE mails.order_id = new.order_id AND mails.kind = new.kind AND mails.lease_id = new.lease_id
             RETURNING mails.order_id, mails.kind, mails.state, mails.last_error, mails.created_at, mails.completed_at",
        )
        .bind(Json(outcomes))
        .fetch_all(self.database.statement(Operation::Worker))
        .await?;
        for Recorded { order_id, kind, state, last_error, created_at, completed_at } in recorded {
            count(&state, created_at, completed_at);
            if state == "failed" {
                tracing::error!(%order_id, kind, error = last_error, "mail failed");
            }
        }
        Ok(())
    }

    fn outcome<'a>(&self, sent: &'a Sent, now: DateTime<Utc>) -> Outcome<'a> {
        let Mail { order_id, kind, lease_id, attempts, .. } = &sent.mail;
        let refusals = match &sent.outcome {
            Err(SendError::Transient(_) | SendError::Permanent(_)) => sent.mail.refusals + 1,
            Ok(_) | Err(SendError::Transport(_) | SendError::Invalid(_)) => sent.mail.refusals,
        };
        let again = || Some(now + self.policy.backoff.pause(u32::try_from(*attempts).unwrap_or(0)));
        let (state, transport, last_error, due_at) = match &sent.outcome {
            Ok(Delivery::Smtp) => ("sent", Some("smtp"), None, None),
            Ok(Delivery::None) => ("sent", Some("none"), None, None),
            Err(SendError::Transport(code)) => ("pending", None, Some(code.as_str()), again()),
            Err(SendError::Transient(code)) if refusals < self.policy.max_attempts => {
                ("pending", None, Some(code.as_str()), again())
            }
            Err(SendError::Transient(code) | SendError::Permanent(code) | SendError::Invalid(code)) => {
                ("failed", None, Some(code.as_str()), None)
            }
        };
        let completed_at = if due_at.is_some() { None } else { Some(now) };
        let (order_id, lease_id) = (order_id.0, *lease_id);
        Outcome { order_id, kind, lease_id, state, transport, last_error, refusals, due_at, completed_at }
    }
}

impl LeasedMail {
    fn into_mail(self, lease_id: Uuid) -> Mail {
        Mail {
            order_id: OrderId(self.order_id),
            kind: self.kind,
            message_id: self.message_id,
            recipient: Recipient { name: self.recipient_name, email: self.recipient_email },
            subject: self.subject,
            text: self.body_text,
            html: self.body_html,
            attempts: self.attempts,
            refusals: self.refusals,
            lease_id,
            created_at: self.created_at,
            trace: TraceContext { traceparent: self.traceparent, tracestate: self.tracestate },
        }
    }
}
