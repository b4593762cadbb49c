//! How many orders wait past their deadline, read again and again.

use async_trait::async_trait;
use contracts::clock;
use metrics::gauge;
use service::Sampler;

use super::metrics::begin_counters;
use super::postgres::OrderStore;

/// Reads how many orders wait past their deadline: an index on the deadlines of open orders.
#[derive(Debug)]
pub struct DeadlineSampler {
    store: OrderStore,
}

impl DeadlineSampler {
    pub fn new(store: OrderStore) -> Self {
        begin_counters();
        Self { store }
    }
}

#[async_trait]
impl Sampler for DeadlineSampler {
    async fn sample(&self) -> anyhow::Result<()> {
        let due = self.store.count_due(clock::now()).await?;
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        gauge!("orders_past_deadline").set(due as f64);
        Ok(())
    }
}
