//! The mailer's worker: takes due mails under a lease, sends them, and stores what became of them.
//!
//! At least once: a crash between the SMTP server's yes and its record sends the mail again, with the same Message-ID.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use telemetry::spans;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
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
    /// Trying again may help.
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
    /// `leased` or `recorded`.
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

    /// Stores what became of them. A mail whose lease was taken over is left alone.
    async fn record(&self, sent: &[Sent]) -> Result<(), StoreError>;
}

/// How the worker works.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSettings {
    /// Mails under way at once.
    pub concurrency: usize,
    /// The longest that sending one may take.
    pub send_timeout: Duration,
    /// How often to look for due mails when nobody wakes the worker.
    pub poll_interval: Duration,
    /// How long an outcome is kept while the database can't take it.
    pub patience: Duration,
}

/// Delivers mails. Any number of workers may run, in any number of processes.
#[derive(Debug)]
pub struct MailWorker {
    store: Arc<dyn MailStore>,
    mailer: Arc<dyn Mailer>,
    wake: Arc<Notify>,
    settings: WorkerSettings,
}

impl MailWorker {
    /// A worker that looks for mails when `wake` says so, and from time to time.
    #[must_use]
    pub fn new(
        store: Arc<dyn MailStore>,
        mailer: Arc<dyn Mailer>,
        wake: Arc<Notify>,
        settings: WorkerSettings,
    ) -> Self {
        Self { store, mailer, wake, settings }
    }

    fn start(&self, sending: &mut JoinSet<Sent>, mails: Vec<Mail>) {
        for mail in mails {
            let (mailer, timeout) = (Arc::clone(&self.mailer), self.settings.send_timeout);
            let span = spans::step("deliver mail", &mail.order_id.0, &mail.trace);
            let send = async move {
                let outcome = tokio::time::timeout(timeout, mailer.send(&mail))
                    .await
                    .unwrap_or_else(|_| Err(SendError::Transient("timeout".to_owned())));
                log(&mail, &outcome);
                Sent { mail, outcome }
            };
            sending.spawn(send.instrument(span));
        }
    }

    async fn record(&self, sent: &[Sent]) -> Result<(), StoreError> {
        let give_up = Instant::now() + self.settings.patience;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.store.record(sent).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() + pause >= give_up => return Err(error),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        mails = sent.len(),
                        "what became of mails waits for the database"
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }
}

fn log(mail: &Mail, outcome: &Result<Delivery, SendError>) {
    let (order_id, kind, attempts) = (mail.order_id.0, mail.kind.as_str(), mail.attempts);
    match outcome {
        Ok(delivery) => tracing::info!(%order_id, kind, attempts, ?delivery, "mail delivered"),
        Err(error) => tracing::warn!(%order_id, kind, attempts, %error, "mail not delivered"),
    }
}

/// Waits for an outcome and takes all that have come by then. `None` when nothing is under way.
async fn next_outcomes(sending: &mut JoinSet<Sent>) -> Option<Vec<Sent>> {
    let mut sent = Vec::new();
    let mut take = |outcome: Result<Sent, tokio::task::JoinError>| match outcome {
        Ok(outcome) => sent.push(outcome),
        Err(error) => tracing::error!(%error, "sending a mail died; it is tried again when the lease ends"),
    };
    take(sending.join_next().await?);
    while let Some(outcome) = sending.try_join_next() {
        take(outcome);
    }
    Some(sent)
}

#[async_trait]
impl service::Worker for MailWorker {
    fn name(&self) -> &'static str {
        "mailer"
    }

    async fn run(&mut self, progress: service::Progress, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut sending = JoinSet::new();
        let mut poll = tokio::time::interval(self.settings.poll_interval);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut more = true;
        while !shutdown.is_cancelled() {
            let free = self.settings.concurrency.saturating_sub(sending.len());
            if more && free * 4 >= self.settings.concurrency {
                let mails = self.store.lease(free).await?;
                more = mails.len() == free;
                if mails.is_empty() && sending.is_empty() {
                    progress.idle();
                }
                self.start(&mut sending, mails);
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(sent) = next_outcomes(&mut sending) => {
                    self.record(&sent).await?;
                    progress.moved();
                }
                () = self.wake.notified() => more = true,
                _ = poll.tick() => more = true,
            }
        }
        while let Some(sent) = next_outcomes(&mut sending).await {
            self.record(&sent).await?;
        }
        Ok(())
    }
}
