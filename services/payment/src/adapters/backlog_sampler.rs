//! How many steps are not done, and since when, read again and again.

use async_trait::async_trait;
use contracts::clock;
use database::Database;
use metrics::gauge;
use service::Sampler;

use super::metrics::STEP_STATES;
use super::postgres::backlog::read_steps;

/// Steps are counted up to this number, oldest first.
const COUNTED: u32 = 10_000;

/// Reads the steps that are not done.
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
        let (steps, now) = (read_steps(&self.database, COUNTED).await?, clock::now());
        for state in STEP_STATES {
            let found = steps.iter().find(|steps| steps.state == state);
            let age = found.and_then(|steps| (now - steps.oldest?).to_std().ok()).unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            gauge!("payment_steps_due", "state" => state).set(found.map_or(0, |steps| steps.count) as f64);
            gauge!("payment_oldest_step_age_seconds", "state" => state).set(age.as_secs_f64());
        }
        Ok(())
    }
}
