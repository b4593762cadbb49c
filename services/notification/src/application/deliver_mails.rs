//! The mailer's worker: takes due mails under a lease, sends them, and stores what became of them.
//!
//! At least once: a crash between the SMTP server's yes and its record sends the mail again, with the same Message-ID.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use service::leases::{Contact, LeaseWorker, LeasedWork, Settings};
use telemetry::spans;
use tokio::sync::Notify;
use tracing::Instrument;

use super::mail::Mail;

/// Where a mail went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The SMTP server has taken it.
    Smtp,
    /// Nowhere: no SMTP server is configured.
    None,
}

/// Why a mail did not go out. Codes only: what a server says may hold the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nobody answered: no connection, a time-out, a connection that ended.
    #[error("{0}")]
    NoAnswer(String),
    /// It was refused; trying again may help.
    #[error("for now: {0}")]
    Transient(String),
    /// The server, or the address itself, will never take it.
    #[error("for ever: {0}")]
    Permanent(String),
}

/// Sends mails.
#[async_trait]
pub trait Mailer: Debug + Send + Sync {
    /// Hands the mail over.
    async fn send(&self, mail: &Mail) -> Result<Delivery, SendError>;
}

/// What became of a leased mail.
#[derive(Debug)]
pub struct Sent {
    /// Which.
    pub mail: Mail,
    /// What became of it.
    pub outcome: Result<Delivery, SendError>,
}

/// The database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("mails could not be {action}")]
pub struct StoreError {
    /// `leased`, `counted` or `recorded`.
    pub action: &'static str,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Where due mails are kept.
#[async_trait]
pub trait MailStore: Debug + Send + Sync {
    /// Leases at most `limit` due mails; mails leased by others are skipped until their lease ends.
    async fn lease(&self, limit: usize) -> Result<Vec<Mail>, StoreError>;

    /// Whether a mail is due, or waits for another attempt.
    async fn is_waiting(&self) -> Result<bool, StoreError>;

    /// Stores what became of them. A mail whose lease was taken over is left alone.
    async fn record(&self, sent: &[Sent]) -> Result<(), StoreError>;
}

/// What the worker does: mails under leases, sent by a mailer.
#[derive(Debug)]
pub struct MailDelivery {
    store: Arc<dyn MailStore>,
    mailer: Arc<dyn Mailer>,
    send_timeout: Duration,
}

/// Delivers mails. Any number of workers may run, in any number of processes.
pub type MailWorker = LeaseWorker<MailDelivery>;

/// A worker that looks for mails when `wake` says so, and from time to time.
#[must_use]
pub fn mail_worker(
    store: Arc<dyn MailStore>,
    mailer: Arc<dyn Mailer>,
    wake: Arc<Notify>,
    settings: Settings,
) -> MailWorker {
    LeaseWorker::new(MailDelivery { store, mailer, send_timeout: settings.call_timeout }, wake, settings)
}

#[async_trait]
impl LeasedWork for MailDelivery {
    type Item = Mail;
    type Outcome = Sent;

    fn name(&self) -> &'static str {
        "mailer"
    }

    async fn lease(&self, limit: usize) -> anyhow::Result<Vec<Mail>> {
        Ok(self.store.lease(limit).await?)
    }

    async fn is_waiting(&self) -> anyhow::Result<bool> {
        Ok(self.store.is_waiting().await?)
    }

    async fn perform(self: Arc<Self>, mail: Mail) -> (Contact, Sent) {
        let span = spans::step("deliver mail", &mail.order_id.0, &mail.trace);
        let send = async move {
            let outcome = tokio::time::timeout(self.send_timeout, self.mailer.send(&mail))
                .await
                .unwrap_or_else(|_| Err(SendError::NoAnswer("timeout".to_owned())));
            log(&mail, &outcome);
            (contact(&outcome), Sent { mail, outcome })
        };
        send.instrument(span).await
    }

    async fn record(&self, sent: &[Sent], _: bool) -> anyhow::Result<Vec<Mail>> {
        self.store.record(sent).await?;
        Ok(Vec::new())
    }
}

const fn contact(outcome: &Result<Delivery, SendError>) -> Contact {
    match outcome {
        Ok(_) | Err(SendError::Transient(_) | SendError::Permanent(_)) => Contact::Answered,
        Err(SendError::NoAnswer(_)) => Contact::NoAnswer,
    }
}

fn log(mail: &Mail, outcome: &Result<Delivery, SendError>) {
    let (order_id, kind, attempts) = (mail.order_id.0, mail.kind.as_str(), mail.attempts);
    match outcome {
        Ok(delivery) => tracing::info!(%order_id, kind, attempts, ?delivery, "mail delivered"),
        Err(error) => tracing::warn!(%order_id, kind, attempts, %error, "mail not delivered"),
    }
}
