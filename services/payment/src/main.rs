//! The payment service: wiring, with one line per subscription.

use std::sync::Arc;

use contracts::order::{OrderCancelled, OrderPlaced};
use contracts::reservation::StockReserved;
use events::Subscribe as _;
use inbox::Subscriptions;
use payment::adapters::backlog_sampler::BacklogSampler;
use payment::adapters::http::{self, Http};
use payment::adapters::postgres::{batch::BatchDeps, migrator, saga::SagaStore};
use payment::adapters::{contract, metrics, provider::BuiltInProvider};
use payment::application::{perform_steps::SagaSteps, provider::Provider};
use payment::config::Config;
use payment::handlers;
use service::leases::LeaseWorker;
use service::{Definition, Service};
use tokio::sync::Notify;

fn main() -> anyhow::Result<()> {
    let definition = Definition {
        name: "payment",
        listen: "127.0.0.1:8082",
        migrator: migrator(),
        publishes: contract::PUBLISHES,
        metrics: metrics::METRICS,
    };
    service::run(definition, |config: &Config, deps| {
        config.check()?;
        // `OrderConfirmed` is not among them: the amount was taken before.
        let subscriptions = Subscriptions::new()
            .on::<OrderPlaced>(handlers::order_placed)
            .on::<StockReserved>(handlers::stock_reserved)
            .on::<OrderCancelled>(handlers::order_cancelled);
        let wake = Arc::new(Notify::new());
        let books = deps.database.another(config.provider_max_connections);
        let provider: Arc<dyn Provider> = Arc::new(BuiltInProvider::new(books, config.delays()));
        let store = SagaStore::new(deps.database.clone(), deps.outbox.clone(), config.lease_policy());
        let (settings, call_timeout) = (config.worker(), config.worker().call_timeout);
        let steps = SagaSteps { store, provider: Arc::clone(&provider), call_timeout };
        let worker = LeaseWorker::new(steps, Arc::clone(&wake), settings);
        let batch = BatchDeps { wake, places: worker.reservations(), policy: config.lease_policy() };
        Ok(Service::new()
            .consumes(subscriptions, batch)
            .worker(worker)
            .sampler(BacklogSampler::new(deps.database.clone()))
            .http(http::routes(Http { database: deps.database.clone(), provider }), http::openapi()))
    })
}
