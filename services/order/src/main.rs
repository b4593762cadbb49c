//! The order service: wiring only.

use std::sync::Arc;

use contracts::payment::{PaymentCompleted, PaymentDeclined};
use contracts::reservation::{StockRejected, StockReserved};
use events::Subscribe as _;
use inbox::Subscriptions;
use order::adapters::contract;
use order::adapters::deadline_sampler::DeadlineSampler;
use order::adapters::deadline_worker::DeadlineWorker;
use order::adapters::http::{self, OrderApi};
use order::adapters::metrics;
use order::adapters::postgres::{BatchDeps, OrderStore, migrator};
use order::adapters::watch::{WatchPoller, Watcher};
use order::config::Config;
use order::handlers;
use service::{Definition, Deps, Service};
use utoipa::OpenApi;

fn main() -> anyhow::Result<()> {
    let definition = Definition {
        name: "order",
        listen: "127.0.0.1:8080",
        migrator: migrator(),
        publishes: contract::PUBLISHES,
        metrics: metrics::METRICS,
    };
    service::run(definition, |config: &Config, deps: &Deps| {
        let subscriptions = Subscriptions::new()
            .on::<StockReserved>(handlers::stock_reserved)
            .on::<StockRejected>(handlers::stock_rejected)
            .on::<PaymentCompleted>(handlers::payment_completed)
            .on::<PaymentDeclined>(handlers::payment_declined);
        let store = OrderStore::new(deps.database.clone(), deps.outbox.clone());
        let watcher = Watcher::new(config, deps.shutdown.clone());
        let deadlines =
            DeadlineWorker::new(store.clone(), Arc::clone(&deps.bus), deps.codec.topics(), config);
        let batch_deps = BatchDeps { outbox: deps.outbox.clone(), watcher: watcher.clone() };
        Ok(Service::new()
            .consumes(subscriptions, batch_deps)
            .sampler(DeadlineSampler::new(store.clone()))
            .worker(WatchPoller::new(watcher.clone(), store.clone()))
            .worker(deadlines)
            .http(http::routes(store, watcher, config), OrderApi::openapi()))
    })
}
