//! What each mechanism of the guarantees costs: the services beside themselves without it, built of patches for this alone.

use debezium::topic::Topic;
use tidings::output;
use tidings::services::ServiceName;

use super::accept::{Accepted, Placing, accept};
use super::{Measured, Setting};
use crate::cost::Cost;
use crate::deployment::Deployment;
use crate::figures::Figure;
use crate::load::Orders;
use crate::servers::Servers;
use crate::system::made;
use crate::waiting_events;
use crate::waiting_rows::{self, Keys, PER_KEY};
use crate::without::{Kind, MECHANISMS, binaries};

pub(super) const NAME: &str = "price";
pub(super) const MEASURES: &str = "The services with all mechanisms of their guarantees: 20,000 waiting events of orders of 3 lines applied by \
    inventory alone, 100,000 waiting rows published by order's relay, orders of 3 lines accepted by order alone on 16 connections. \
    Each side runs twice, alternately, and its slower run counts.";
pub(super) const BESIDE: &str = "the same without one of the mechanisms, removed by a patch of tests/bench/without; what ships can't do that.";

const EVENTS: u64 = 20_000;
const ROWS: u64 = 100_000;
const LINES: usize = 3;
const SKUS: u64 = 500;
const CONNECTIONS: usize = 16;
/// Messages of a key that follow each other.
const BURST: u64 = 50;
const ROUNDS: usize = 2;

pub(super) async fn run(setting: &Setting) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    for kind in [Kind::Apply, Kind::Relay, Kind::Accept] {
        let bench = Bench::prepare(setting, kind).await?;
        for mechanism in MECHANISMS.iter().filter(|mechanism| mechanism.kind == kind) {
            let without = match binaries(mechanism.name) {
                Ok(folder) => bench.deployment().binaries(folder),
                Err(error) => {
                    output::diagnostic(&format!("price: measured without {}: {error:#}", mechanism.name));
                    measured.notes.push(format!("Not measured: {}.", mechanism.name));
                    continue;
                }
            };
            let keys = mechanism.in_bursts.then_some(Keys { messages: BURST, step: 1 });
            let label = match keys {
                Some(_) => format!("{}, {BURST} rows of a key in succession", mechanism.name),
                None => mechanism.name.to_owned(),
            };
            let figures = bench.sides(&label, &bench.deployment(), &without, keys).await?;
            measured.figures.extend(figures);
        }
        if kind == Kind::Accept {
            let with = bench.deployment().traces(100);
            measured.figures.extend(bench.sides("tracing", &with, &bench.deployment(), None).await?);
        }
    }
    Ok(measured)
}

/// The servers of one kind of measurement.
struct Bench<'a> {
    setting: &'a Setting,
    servers: Servers,
    kind: Kind,
    prefix: String,
}

impl<'a> Bench<'a> {
    async fn prepare(setting: &'a Setting, kind: Kind) -> anyhow::Result<Self> {
        let servers = Servers::start(&setting.kafka, &setting.binaries).await?;
        let prefix = format!("bench-price-{}", contracts::clock::new_id().simple());
        let bench = Self { setting, servers, kind, prefix };
        match kind {
            Kind::Apply => {
                let skus = (0..SKUS).map(|sku| format!("SKU-{sku}"));
                let (deployment, count) = (bench.deployment(), setting.scaled(EVENTS));
                waiting_events::prepare(&bench.servers, &deployment, skus, &orders(), count).await?;
            }
            Kind::Relay | Kind::Accept => waiting_rows::prepare(&bench.servers, &bench.prefix).await?,
        }
        Ok(bench)
    }

    fn deployment(&self) -> Deployment {
        Deployment::new(&self.prefix)
    }

    /// Both sides, alternately.
    async fn sides(
        &self,
        label: &str,
        with: &Deployment,
        without: &Deployment,
        keys: Option<Keys>,
    ) -> anyhow::Result<[Figure; 2]> {
        let mut sides: Option<(Cost, Cost)> = None;
        for round in 1..=ROUNDS {
            let (a, b) = (self.once(with, keys).await?, self.once(without, keys).await?);
            output::diagnostic(&format!(
                "{label}, round {round}: {:.0} a second, without it {:.0}",
                a.per_second, b.per_second
            ));
            sides = Some(sides.map_or((a, b), |(with, without)| (with.slower(a), without.slower(b))));
        }
        let (with, without) = sides.unwrap_or_default();
        let (done, unit) = match self.kind {
            Kind::Relay => ("published", "rows/s"),
            Kind::Accept => ("accepted", "orders/s"),
            Kind::Apply => ("applied", "events/s"),
        };
        let cpu_us = |cost: Cost| cost.cpu_us + cost.postgres_us;
        Ok([
            Figure::new(format!("{label}: {done}"), unit, with.per_second)
                .beside("without it", without.per_second),
            Figure::new(format!("{label}: CPU of service and PostgreSQL for one"), "us", cpu_us(with))
                .beside("without it", cpu_us(without)),
        ])
    }

    async fn once(&self, deployment: &Deployment, keys: Option<Keys>) -> anyhow::Result<Cost> {
        let (setting, servers) = (self.setting, &self.servers);
        match self.kind {
            Kind::Relay => self.publish(deployment, keys).await,
            Kind::Accept => {
                let placing = Placing { connections: CONNECTIONS, rate: None, lines: LINES };
                let Accepted { cost, .. } = accept(setting, servers, deployment, placing).await?;
                Ok(cost)
            }
            Kind::Apply => waiting_events::apply(servers, deployment, 0, setting.scaled(EVENTS)).await,
        }
    }

    async fn publish(&self, deployment: &Deployment, keys: Option<Keys>) -> anyhow::Result<Cost> {
        let rows = self.setting.scaled(ROWS);
        let keys = keys.unwrap_or(Keys { messages: PER_KEY, step: rows / PER_KEY });
        let mut conn = self.servers.connect(&ServiceName::Order.database()).await?;
        // Without the mechanism, rows of the run before may be left.
        waiting_rows::finish(&mut conn).await?;
        waiting_rows::insert_as(&mut conn, &self.prefix, rows, keys).await?;
        self.servers.checkpoint().await?;
        let before = self.records().await?;
        let published = waiting_rows::publish(&self.servers, deployment, rows).await?;
        // A relay that publishes rows twice has done other work.
        let records = self.records().await? - before;
        anyhow::ensure!(records == i64::try_from(rows)?, "{records} records were published of {rows} rows");
        Ok(published.cost)
    }

    /// How many records are on the topic of orders.
    async fn records(&self) -> anyhow::Result<i64> {
        let brokers = self.servers.kafka.addresses.bootstrap_servers.clone();
        let name = format!("{}.orders", self.prefix);
        let ends = tokio::task::spawn_blocking(move || Topic::open(&brokers, &name)?.ends());
        Ok(ends.await??.values().sum())
    }
}

fn orders() -> Orders {
    made("price", LINES, |number, line| format!("SKU-{}", (number * 31 + line as u64 * 97) % SKUS))
}
