//! librdkafka's logs and errors, rate-limited, because an outage repeats them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;

/// The same kind of message is logged once in this time, with how often it came meanwhile.
const QUIET: Duration = Duration::from_secs(30);
/// More kinds than librdkafka has facilities.
const KINDS: usize = 200;

/// A client's logs.
pub(crate) struct Events {
    client: String,
    seen: Mutex<HashMap<String, Seen>>,
}

struct Seen {
    logged: Instant,
    suppressed: u64,
}

impl Events {
    pub(crate) fn new(client: &str) -> Self {
        Self { client: client.to_owned(), seen: Mutex::default() }
    }

    /// How many of `kind` were suppressed since the last one that was logged; `None` while quiet.
    fn admit(&self, kind: &str) -> Option<u64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(before) = seen.get_mut(kind) {
            if now.duration_since(before.logged) < QUIET {
                before.suppressed += 1;
                return None;
            }
            before.logged = now;
            return Some(std::mem::take(&mut before.suppressed));
        }
        if seen.len() >= KINDS {
            seen.clear();
        }
        seen.insert(kind.to_owned(), Seen { logged: now, suppressed: 0 });
        Some(0)
    }

    /// Logs something that retries by itself.
    pub(crate) fn warn(&self, kind: &str, detail: &str) {
        if let Some(suppressed) = self.admit(kind) {
            tracing::warn!(client = self.client, kind, suppressed, "{detail}");
        }
    }

    /// Logs something that needs an operator.
    pub(crate) fn alarm(&self, kind: &str, detail: &str) {
        if let Some(suppressed) = self.admit(kind) {
            tracing::error!(client = self.client, kind, suppressed, "{detail}");
        }
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => self.warn(facility, message),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::debug!(client = self.client, facility, "{message}");
            }
            RDKafkaLogLevel::Debug => tracing::trace!(client = self.client, facility, "{message}"),
        }
    }

    fn stats(&self, _statistics: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let kind = error.rdkafka_error_code().map_or_else(|| "client".to_owned(), |code| format!("{code:?}"));
        self.warn(&kind, reason);
    }
}
