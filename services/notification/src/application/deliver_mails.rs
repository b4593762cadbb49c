//! The mailer's worker: leases due mails, sends them, stores the outcomes.
//!
//! At least once: a crash after the SMTP server has accepted a mail and before that is stored sends the mail again, with
//! the same Message-ID.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use service::leases::{Contact, LeasedWork};
use telemetry::spans;
use tracing::Instrument;

use super::mail::{MAILS, Mail};
use super::mailer::{Delivery, Mailer, SendError, Sent};
use crate::adapters::metrics::count_attempt;
use crate::adapters::postgres::mails::MailStore;

/// The delivery of mails. Any number of workers may perform it, in any number of processes.
#[derive(Debug)]
pub struct MailDelivery {
    pub store: MailStore,
    pub mailer: Arc<dyn Mailer>,
    /// The longest that sending one mail may take.
    pub send_timeout: Duration,
}

#[async_trait]
impl LeasedWork for MailDelivery {
    type Item = Mail;
    type Outcome = Sent;

    fn name(&self) -> &'static str {
        "mailer"
    }

    fn table(&self) -> &'static str {
        MAILS
    }

    async fn lease(&self, limit: usize) -> anyhow::Result<Vec<Mail>> {
        self.store.lease(limit).await.context("leasing due mails")
    }

    async fn next_due_in(&self) -> anyhow::Result<Option<Duration>> {
        self.store.next_due_in().await.context("looking for the next mail")
    }

    async fn perform(self: Arc<Self>, mail: Mail) -> (Contact, Sent) {
        let span = spans::step("deliver mail", &mail.order_id.0, &mail.trace);
        let send = async move {
            let outcome = tokio::time::timeout(self.send_timeout, self.mailer.send(&mail))
                .await
                .unwrap_or_else(|_| Err(SendError::Transport("timeout".to_owned())));
            log(&mail, &outcome);
            count_attempt(&outcome);
            let contact = outcome.as_ref().map_or_else(SendError::contact, |_| Contact::Answered);
            (contact, Sent { mail, outcome })
        };
        send.instrument(span).await
    }

    async fn record(&self, sent: &[Sent], _: bool) -> anyhow::Result<Vec<Mail>> {
        self.store.record(sent).await.context("recording the outcomes of mails")?;
        Ok(Vec::new())
    }
}

fn log(mail: &Mail, outcome: &Result<Delivery, SendError>) {
    let (order_id, kind, attempts) = (mail.order_id.0, mail.kind.as_str(), mail.attempts);
    match outcome {
        Ok(delivery) => tracing::info!(%order_id, kind, attempts, ?delivery, "mail delivered"),
        Err(error) => tracing::warn!(%order_id, kind, attempts, %error, "mail not delivered"),
    }
}
