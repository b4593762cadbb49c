//! The notification service: wiring, with one line per subscription.

use std::sync::Arc;

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::PaymentRefunded;
use events::Subscribe as _;
use inbox::Subscriptions;
use notification::adapters::backlog_sampler::BacklogSampler;
use notification::adapters::http::{self, Http};
use notification::adapters::postgres::{batch::BatchDeps, mails::MailStore, migrator};
use notification::adapters::{metrics, rendering::Renderer, smtp};
use notification::application::deliver_mails::MailDelivery;
use notification::config::Config;
use notification::handlers;
use service::leases::LeaseWorker;
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
        let subscriptions = Subscriptions::new()
            .on::<OrderPlaced>(handlers::order_placed)
            .on::<OrderConfirmed>(handlers::order_confirmed)
            .on::<OrderCancelled>(handlers::order_cancelled)
            .on::<PaymentRefunded>(handlers::payment_refunded);
        let wake = Arc::new(Notify::new());
        let renderer = Renderer::try_new(&config.message_id_domain)?;
        let send_timeout = config.send_timeout();
        let mailer = smtp::mailer(config.smtp_url.expose(), &config.from, send_timeout)?;
        let store = MailStore::new(deps.database.clone(), config.retry_policy());
        let delivery = MailDelivery { store, mailer, send_timeout };
        Ok(Service::new()
            .consumes(subscriptions, BatchDeps { renderer, wake: Arc::clone(&wake) })
            .worker(LeaseWorker::new(delivery, Arc::clone(&wake), config.worker()))
            .sampler(BacklogSampler::new(deps.database.clone()))
            .http(http::routes(Http { database: deps.database.clone(), wake }), http::openapi()))
    })
}
