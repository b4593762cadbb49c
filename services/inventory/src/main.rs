//! The inventory service.

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use events::Subscribe as _;
use inbox::Subscriptions;
use inventory::adapters::reactions::{commit_stock, release_stock, reserve_stock};
use inventory::adapters::{contract, http, metrics, postgres};
use inventory::config::Config;
use service::{Definition, Deps, Service};

fn main() -> anyhow::Result<()> {
    let definition = Definition {
        name: "inventory",
        listen: "127.0.0.1:8081",
        migrator: postgres::migrator(),
        publishes: contract::PUBLISHES,
        metrics: metrics::METRICS,
    };
    service::run(definition, |config: &Config, deps: &Deps| {
        let subscriptions = Subscriptions::new()
            .on::<OrderPlaced>(reserve_stock)
            .on::<OrderConfirmed>(commit_stock)
            .on::<OrderCancelled>(release_stock);
        Ok(Service::new()
            .consumes::<postgres::StockBatch>(subscriptions, deps.outbox.clone())
            .http(http::routes(config, deps), http::openapi()))
    })
}
