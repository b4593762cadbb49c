//! The analytics service.

use analytics::adapters::postgres::Generation;
use analytics::adapters::{http, postgres, reactions};
use analytics::config::Config;
use service::{Definition, Deps, Service};

fn main() -> anyhow::Result<()> {
    let definition = Definition {
        name: "analytics",
        listen: "127.0.0.1:8084",
        migrator: postgres::migrator(),
        publishes: &[],
    };
    service::run(definition, |_: &Config, deps: &Deps| {
        Ok(Service::new()
            .consumes(reactions::subscriptions(), Generation::Live)
            .http(http::routes(deps.pool.clone()), http::openapi()))
    })
}
