//! The inventory service: wiring only.

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use events::Subscribe as _;
use inbox::Subscriptions;
use inventory::adapters::postgres::{self, Batch};
use inventory::adapters::{contract, http, metrics};
use inventory::config::Config;
use inventory::handlers;
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
        let subscriptions = Subscriptions::<Batch>::new()
            .on::<OrderPlaced>(handlers::order_placed)
            .on::<OrderConfirmed>(handlers::order_confirmed)
            .on::<OrderCancelled>(handlers::order_cancelled);
        Ok(Service::new()
            .consumes(subscriptions, deps.outbox.clone())
            .http(http::routes(config, deps), http::openapi()))
    })
}
