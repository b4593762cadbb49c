//! How many mails wait and have failed, read again and again.

use async_trait::async_trait;
use contracts::clock;
use database::Database;
use metrics::gauge;
use service::Sampler;

use super::postgres::backlog::read_backlog;

/// Mails are counted up to this number.
const COUNTED: u32 = 10_000;

/// Reads the backlog of mails.
#[derive(Debug)]
pub struct BacklogSampler {
    database: Database,
}

impl BacklogSampler {
    pub const fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl Sampler for BacklogSampler {
    async fn sample(&self) -> anyhow::Result<()> {
        let backlog = read_backlog(&self.database, COUNTED).await?;
        let age = backlog.oldest_pending.and_then(|since| (clock::now() - since).to_std().ok());
        #[expect(clippy::cast_precision_loss, reason = "gauges")]
        for (status, count) in [("pending", backlog.pending as f64), ("failed", backlog.failed as f64)] {
            gauge!("mails", "status" => status).set(count);
        }
        gauge!("mails_oldest_pending_age_seconds").set(age.unwrap_or_default().as_secs_f64());
        Ok(())
    }
}
