//! The section `[notification]` of the configuration.

use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use backoff::Backoff;
use redaction::Secret;
use serde::{Deserialize, Serialize};
use service::leases::{COOL_DOWN, Settings};

use crate::adapters::postgres::mails::RetryPolicy;

/// Where mails go and how often they are tried.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `smtp://[user:password@]host[:port]`, with `?tls=required` for STARTTLS, or `smtps://...`. If empty, mails are recorded
    /// and not sent.
    pub smtp_url: Secret,
    /// The sender, `Name <address>`.
    pub from: String,
    /// Domain of Message-IDs.
    pub message_id_domain: String,
    /// Maximum number of concurrent mails and SMTP connections.
    pub concurrency: u32,
    /// Time limit of sending a mail.
    pub send_timeout_ms: u32,
    /// Time after which a worker that has not returned is considered dead.
    pub lease_ms: u32,
    /// First pause before a mail is retried; it doubles with each retry.
    pub backoff_initial_ms: u32,
    /// Maximum pause before a mail is retried.
    pub backoff_max_ms: u32,
    /// Number of attempts, refused for the mail's own sake, after which it has failed. The default spans about four hours. A mail
    /// server that is away or refuses everybody fails no mail.
    pub max_attempts: u16,
    /// Longest time between two looks for due mails when nothing wakes the worker. It looks earlier when one becomes due.
    pub poll_interval_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            smtp_url: Secret::default(),
            from: "Tidings <orders@tidings.example>".to_owned(),
            message_id_domain: "tidings.example".to_owned(),
            concurrency: 16,
            send_timeout_ms: 10_000,
            lease_ms: 60_000,
            backoff_initial_ms: 1_000,
            backoff_max_ms: 300_000,
            max_attempts: 55,
            poll_interval_ms: 5_000,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("from", &self.from).finish_non_exhaustive()
    }
}

const fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms as u64)
}

impl Config {
    /// Rejects settings that can't work together.
    ///
    /// # Errors
    /// When a worker could lose its lease while it waits, or could do nothing at all.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.concurrency > 0, "notification.concurrency is 0: nothing would ever be sent");
        ensure!(self.max_attempts > 0, "notification.max_attempts is 0: nothing would ever be sent");
        ensure!(self.poll_interval_ms > 0, "notification.poll_interval_ms is 0");
        ensure!(
            self.lease_ms > self.send_timeout_ms,
            "notification.lease_ms ({}) must exceed notification.send_timeout_ms ({})",
            self.lease_ms,
            self.send_timeout_ms
        );
        Ok(())
    }

    pub fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            lease: ms(self.lease_ms),
            backoff: Backoff::new(ms(self.backoff_initial_ms), ms(self.backoff_max_ms)),
            max_attempts: i32::from(self.max_attempts),
        }
    }

    pub fn worker(&self) -> Settings {
        Settings {
            concurrency: self.concurrency as usize,
            call_timeout: self.send_timeout(),
            poll_interval: ms(self.poll_interval_ms),
            record_timeout: ms(self.lease_ms),
            cool_down: COOL_DOWN,
        }
    }

    pub const fn send_timeout(&self) -> Duration {
        ms(self.send_timeout_ms)
    }
}
