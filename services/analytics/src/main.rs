//! The analytics service.

use std::sync::Arc;

use analytics::adapters::postgres::Generation;
use analytics::adapters::rebuild::Rebuilder;
use analytics::adapters::{http, metrics, postgres, reactions};
use analytics::config::Config;
use service::{Definition, Deps, Service};
use tokio::sync::Notify;

fn main() -> anyhow::Result<()> {
    let definition = Definition {
        name: "analytics",
        listen: "127.0.0.1:8084",
        migrator: postgres::migrator(),
        publishes: &[],
        metrics: metrics::METRICS,
    };
    service::run(definition, |_: &Config, deps: &Deps| {
        let rebuilder = Arc::new(Notify::new());
        Ok(Service::new()
            .consumes(reactions::subscriptions(), Generation::Live)
            .sampler(metrics::RevenueSampler::new(deps.database.clone()))
            .worker(Rebuilder::new(deps, Arc::clone(&rebuilder)))
            .http(http::routes(deps.database.clone(), rebuilder), http::openapi()))
    })
}
