//! The whole system on the servers of a row, and orders that go through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use embedded::otlp::OtlpReceiver;
use futures::future::try_join_all;
use futures::{TryStreamExt as _, stream};
use sqlx::PgConnection;
use tidings::client::{Client, OrderView};
use tidings::output;
use tidings::services::ServiceName;
use tokio::time::{Instant, sleep};

use crate::deployment::Deployment;
use crate::latencies::Latencies;
use crate::load::{Connection, Load, Order, Orders};
use crate::processes::{cpu_seconds, cpu_seconds_of_tree};
use crate::servers::Servers;
use crate::service_process::ServiceProcess;

/// How long the last orders may take to end.
const ENDS_TIMEOUT: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const REPLENISHING: usize = 16;

/// The five services.
pub(crate) struct System<'a> {
    processes: Vec<(ServiceName, ServiceProcess)>,
    traces: Option<OtlpReceiver>,
    servers: &'a Servers,
}

/// Orders that went through the system.
#[derive(Debug)]
pub(crate) struct Driven {
    pub(crate) accepted_per_second: f64,
    pub(crate) ended_per_second: f64,
    /// From a request to its answer.
    pub(crate) to_answer: Latencies,
    /// From placed to ended, by the service's clock.
    pub(crate) to_end: Latencies,
    /// Milliseconds of CPU time for an order, by process.
    pub(crate) cpu_ms: Vec<(String, f64)>,
}

impl Driven {
    /// Milliseconds of CPU time of a process for an order.
    pub(crate) fn cpu_ms_of(&self, process: &str) -> f64 {
        self.cpu_ms.iter().find(|(name, _)| name == process).map_or(0.0, |(_, cpu_ms)| *cpu_ms)
    }

    /// The same of the five services together.
    pub(crate) fn cpu_ms_of_services(&self) -> f64 {
        ServiceName::NAMES.into_iter().map(|service| self.cpu_ms_of(service)).sum()
    }
}

impl<'a> System<'a> {
    /// Starts all five services; all of their spans go to a receiver in this process.
    ///
    /// # Errors
    /// When one does not get ready.
    pub(crate) async fn start(servers: &'a Servers, prefix: &str) -> anyhow::Result<Self> {
        Self::start_as(servers, &Deployment::new(prefix).traces(100)).await
    }

    /// Starts all five services in this way.
    ///
    /// # Errors
    /// When one does not get ready.
    pub(crate) async fn start_as(servers: &'a Servers, deployment: &Deployment) -> anyhow::Result<Self> {
        let (deployment, traces) = deployment.with_receiver().await?;
        servers.create_databases(ServiceName::ALL).await?;
        let replicas = |service| std::iter::repeat_n(service, deployment.replica_count());
        let starts = ServiceName::ALL.into_iter().flat_map(replicas).map(|service| {
            let start = ServiceProcess::start(servers, service, &deployment);
            async move { anyhow::Ok((service, start.await?)) }
        });
        Ok(Self { processes: try_join_all(starts).await?, traces, servers })
    }

    /// Stops the services, then the receiver of their spans.
    ///
    /// # Errors
    /// When one died before.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.check()?;
        try_join_all(self.processes.into_iter().map(|(_, process)| process.stop())).await?;
        if let Some(traces) = self.traces {
            traces.stop().await;
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        self.processes.iter().try_for_each(|(_, process)| process.check())
    }

    /// The processes of the services.
    pub(crate) fn pids(&self) -> Vec<(ServiceName, u32)> {
        self.processes.iter().map(|(service, process)| (*service, process.pid)).collect()
    }

    /// The address of a service: of its first replica.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn address(&self, service: ServiceName) -> anyhow::Result<SocketAddr> {
        self.addresses(service).next().with_context(|| format!("{service} has no address"))
    }

    fn addresses(&self, service: ServiceName) -> impl Iterator<Item = SocketAddr> {
        let of_service = self.processes.iter().filter(move |(other, _)| *other == service);
        of_service.map(|(_, process)| process.address)
    }

    /// Gives each of these SKUs so many units.
    pub(crate) async fn replenish(
        &self,
        skus: impl IntoIterator<Item = String>,
        units: u64,
    ) -> anyhow::Result<()> {
        replenish(self.address(ServiceName::Inventory)?, skus, units).await
    }

    /// Places orders and waits until each has ended.
    ///
    /// # Errors
    /// When one is refused, or does not end in time.
    pub(crate) async fn drive(
        &self,
        orders: &Orders,
        connections: usize,
        count: u64,
        rate: Option<f64>,
    ) -> anyhow::Result<Driven> {
        self.drive_as(orders, Load { connections, count, rate, ..self.load() }).await
    }

    /// Orders over all replicas of order, without an end of their own.
    pub(crate) fn load(&self) -> Load {
        Load {
            addresses: self.addresses(ServiceName::Order).collect(),
            connections: 1,
            rate: None,
            wait_seconds: None,
            count: u64::MAX,
            duration: Duration::from_secs(600),
        }
    }

    /// The same with this load.
    ///
    /// # Errors
    /// When one is refused, or does not end in time.
    pub(crate) async fn drive_as(&self, orders: &Orders, load: Load) -> anyhow::Result<Driven> {
        let mut database = self.servers.connect(&ServiceName::Order.database()).await?;
        let began: chrono::DateTime<chrono::Utc> =
            sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut database).await?;
        self.servers.checkpoint().await?;
        let before = self.cpu();
        let started = Instant::now();
        let placed = load.run(orders).await?;
        let count = placed.latencies.count();
        wait_for_ends(&mut database).await?;
        self.check()?;
        let seconds = started.elapsed().as_secs_f64();
        let per_order = |(name, cpu): (String, f64), (_, before): &(String, f64)| {
            (name, (cpu - before) * 1_000.0 / count.max(1) as f64)
        };
        let cpu_ms =
            self.cpu().into_iter().zip(&before).map(|(now, before)| per_order(now, before)).collect();
        let driven = Driven {
            accepted_per_second: placed.per_second(),
            ended_per_second: count as f64 / seconds,
            to_answer: placed.latencies,
            to_end: to_end(&mut database, began).await?,
            cpu_ms,
        };
        output::diagnostic(&format!(
            "{:.0} orders/s accepted, {:.0} ended",
            driven.accepted_per_second, driven.ended_per_second
        ));
        Ok(driven)
    }

    /// Places one order; gives the microseconds until it has ended.
    ///
    /// # Errors
    /// When it is refused, or does not end in time.
    pub(crate) async fn drive_one(&self, connection: &mut Connection, order: &Order) -> anyhow::Result<u64> {
        let body = connection.place(order).await?;
        let placed: OrderView = serde_json::from_slice(&body).context("the answer to an order")?;
        let path = format!("/orders/{}", placed.order_id);
        let started = Instant::now();
        loop {
            // Not more often than this: the looks are work for order.
            sleep(LOOK_AGAIN).await;
            let body = connection.get(&path).await?.unwrap_or_default();
            let order: OrderView =
                serde_json::from_slice(&body).with_context(|| format!("the answer to {path}"))?;
            if let Some(ended_at) = order.ended_at {
                let took = (ended_at - order.placed_at).num_microseconds();
                return Ok(took.and_then(|us| u64::try_from(us).ok()).unwrap_or_default());
            }
            anyhow::ensure!(started.elapsed() < ENDS_TIMEOUT, "the order {} does not end", placed.order_id);
        }
    }

    /// Seconds of CPU time of each process so far.
    pub(crate) fn cpu(&self) -> Vec<(String, f64)> {
        let of_service = |service: ServiceName| {
            let pids = self.pids().into_iter().filter(|(other, _)| *other == service);
            (service.to_string(), pids.map(|(_, pid)| cpu_seconds(pid)).sum())
        };
        let mut cpu: Vec<(String, f64)> = ServiceName::ALL.into_iter().map(of_service).collect();
        cpu.push(("Kafka".to_owned(), cpu_seconds(self.servers.kafka.pid)));
        cpu.push(("PostgreSQL".to_owned(), cpu_seconds_of_tree(self.servers.postmaster())));
        cpu.push(("this program".to_owned(), cpu_seconds(std::process::id())));
        cpu
    }
}

/// Gives each of these SKUs so many units, at this address of inventory.
///
/// # Errors
/// When it refuses.
pub(crate) async fn replenish(
    inventory: SocketAddr,
    skus: impl IntoIterator<Item = String>,
    units: u64,
) -> anyhow::Result<()> {
    let inventory = Client::try_new(&format!("http://{inventory}"))?;
    let run = contracts::clock::new_id();
    stream::iter(skus.into_iter().map(anyhow::Ok))
        .try_for_each_concurrent(REPLENISHING, async |sku| {
            let key = format!("{run}-{}", tidings::client::encode(&sku));
            inventory.replenish(&sku, &key, units).await.into_result().map(drop)
        })
        .await
}

async fn wait_for_ends(database: &mut PgConnection) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let is_open: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM order_views WHERE status = 'placed')")
                .fetch_one(&mut *database)
                .await?;
        if !is_open {
            return Ok(());
        }
        if started.elapsed() >= ENDS_TIMEOUT {
            bail!("orders are open {} s after the last one was placed", ENDS_TIMEOUT.as_secs());
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn to_end(
    database: &mut PgConnection,
    since: chrono::DateTime<chrono::Utc>,
) -> anyhow::Result<Latencies> {
    let us: Vec<i64> = sqlx::query_scalar(
        "SELECT (extract(epoch FROM ended_at - placed_at) * 1000000)::bigint FROM order_views WHERE placed_at >= $1",
    )
    .bind(since)
    .fetch_all(database)
    .await?;
    Ok(Latencies::new(us.into_iter().map(|us| u64::try_from(us).unwrap_or_default()).collect()))
}

/// Orders of these lines each, made of a number.
pub(crate) fn made(
    run: &str,
    lines: usize,
    sku: impl Fn(u64, usize) -> String + Send + Sync + 'static,
) -> Orders {
    let run = run.to_owned();
    Arc::new(move |number| {
        let lines: Vec<serde_json::Value> = (0..lines)
            .map(|line| serde_json::json!({ "sku": sku(number, line), "quantity": 1, "unit_price_minor": 1_250 }))
            .collect();
        let body = serde_json::json!({
            "customer_id": customer(number),
            "currency": "GBP",
            "lines": lines,
            "payment_method": "tok_visa",
        });
        Order { key: key(&run, number), body: body.to_string() }
    })
}

/// One of a thousand customers.
pub(crate) fn customer(number: u64) -> String {
    format!("customer-{:03}", number % 1_000)
}

/// The Idempotency-Key of an order of a run.
pub(crate) fn key(run: &str, number: u64) -> String {
    format!("{run}-{number:09}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_has_a_key_of_its_own_and_the_lines_that_were_asked_for() {
        let orders = made("r", 3, |number, line| format!("S{number}-{line}"));
        let (first, second) = (orders(1), orders(1_001));
        assert_ne!(first.key, second.key);
        let body: serde_json::Value = serde_json::from_str(&first.body).unwrap();
        assert_eq!(body["lines"].as_array().unwrap().len(), 3);
        assert_eq!(
            (&body["customer_id"], &body["lines"][2]["sku"]),
            (&"customer-001".into(), &"S1-2".into())
        );
    }
}
