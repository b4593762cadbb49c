//! The payment service: wiring only.

use std::sync::Arc;

use payment::adapters::http::{self, Http};
use payment::adapters::postgres::batch::BatchDeps;
use payment::adapters::postgres::{migrator, saga::PostgresSaga};
use payment::adapters::{contract, metrics, provider::BuiltInProvider};
use payment::application::perform_steps::saga_worker;
use payment::application::provider::Provider;
use payment::application::subscriptions;
use payment::config::Config;
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
        let wake = Arc::new(Notify::new());
        let provider: Arc<dyn Provider> = Arc::new(BuiltInProvider::new(
            deps.database.another(config.provider_max_connections),
            config.delays(),
        ));
        let store = PostgresSaga::new(deps.database.clone(), deps.outbox.clone(), config.lease_policy());
        Ok(Service::new()
            .consumes(subscriptions(), BatchDeps { wake: Arc::clone(&wake) })
            .worker(saga_worker(Arc::new(store), Arc::clone(&provider), wake, config.worker()))
            .http(http::routes(Http { database: deps.database.clone(), provider }), http::openapi()))
    })
}
