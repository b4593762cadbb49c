//! The notification service: wiring only.

use std::sync::Arc;

use notification::adapters::postgres::batch::BatchDeps;
use notification::adapters::postgres::{mails::PostgresMails, migrator};
use notification::adapters::rendering::Renderer;
use notification::adapters::{http, metrics, smtp};
use notification::application::deliver_mails::mail_worker;
use notification::application::subscriptions;
use notification::config::Config;
use service::{Definition, Service};
use tokio::sync::Notify;

fn main() -> anyhow::Result<()> {
    let definition = Definition {
        name: "notification",
        listen: "127.0.0.1:8083",
        migrator: migrator(),
        publishes: &[],
        metrics: metrics::METRICS,
    };
    service::run(definition, |config: &Config, deps| {
        config.check()?;
        let wake = Arc::new(Notify::new());
        let renderer = Renderer::try_new(&config.message_id_domain)?;
        let mailer = smtp::mailer(&config.smtp_url, &config.from, config.concurrency, config.send_timeout())?;
        let store = PostgresMails::new(deps.database.clone(), config.retry_policy());
        Ok(Service::new()
            .consumes(subscriptions(), BatchDeps { renderer, wake: Arc::clone(&wake) })
            .worker(mail_worker(Arc::new(store), mailer, wake, config.worker()))
            .http(http::routes(deps.database.clone()), http::openapi()))
    })
}
