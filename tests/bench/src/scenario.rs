//! A scenario of a curve: what is done with which parameters, and the figures that it gives.

use tidings::services::ServiceName;

use crate::deployment::Deployment;
use crate::figures::Figure;
use crate::load::Orders;
use crate::rows::accept::{Accepted, Bench, Placing, accept, record};
use crate::rows::{Setting, relay_poll};
use crate::servers::Servers;
use crate::system::{System, made};
use crate::{topics, waiting_events, waiting_rows};

/// Rows of one statement that inserts finished ones.
const PER_STATEMENT: u64 = 1_000_000;
const CONNECTIONS: usize = 16;
const SYSTEM_CONNECTIONS: usize = 32;
const LINES: usize = 3;
/// SKUs over which orders are spread; those that are hot come on top.
const SKUS: u64 = 500;
const PLENTY: u64 = 10_000_000;

/// The parameters. What no curve varies has one value.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Rows that wait in order's outbox.
    pub(crate) waiting: u64,
    /// Rows of order's outbox that were published before.
    pub(crate) finished: u64,
    /// Rows of inventory's inbox.
    pub(crate) inbox_rows: u64,
    /// Lines of an order.
    pub(crate) lines: usize,
    /// How many orders of a hundred want the same SKUs.
    pub(crate) hot_per_cent: u64,
    /// Partitions of each topic, if they are not as many as the services create.
    pub(crate) partitions: Option<i32>,
    pub(crate) deployment: Deployment,
    /// Events that wait for inventory, and orders that go through the system.
    events: u64,
    orders: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// Waiting rows published by order's relay.
    Relay,
    /// Orders accepted by order alone, on 16 connections.
    Accept,
    /// The same beside pgbench.
    AcceptBesidePgbench,
    /// Waiting events applied by inventory alone.
    Apply,
    /// Orders through the five services, at full speed on 32 connections.
    Whole,
}

impl Scenario {
    /// With this prefix of topics, which nobody else has used: the events of another run would be applied too.
    pub(crate) fn new(setting: &Setting, prefix: impl Into<String>) -> Self {
        Self {
            waiting: setting.scaled(100_000),
            finished: 0,
            inbox_rows: 0,
            lines: LINES,
            hot_per_cent: 0,
            partitions: None,
            deployment: Deployment::new(prefix),
            events: setting.scaled(20_000),
            orders: setting.scaled(2_000),
        }
    }

    /// Measures on servers that nothing else has used.
    ///
    /// # Errors
    /// When something can't be measured.
    pub(crate) async fn measure(
        &self,
        measured: Measured,
        setting: &Setting,
        servers: &Servers,
    ) -> anyhow::Result<Vec<Figure>> {
        if let Some(partitions) = self.partitions {
            topics::create(servers, self.deployment.prefix(), partitions).await?;
        }
        match measured {
            Measured::Relay => self.relay(servers).await,
            Measured::Accept => self.accept(setting, servers).await,
            Measured::AcceptBesidePgbench => self.accept_beside_pgbench(setting, servers).await,
            Measured::Apply => self.apply(servers).await,
            Measured::Whole => self.whole(servers).await,
        }
    }

    async fn relay(&self, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        waiting_rows::prepare(servers, self.deployment.prefix()).await?;
        let mut conn = servers.connect(&ServiceName::Order.database()).await?;
        let mut left = self.finished;
        while left > 0 {
            let now = left.min(PER_STATEMENT);
            waiting_rows::insert(&mut conn, self.deployment.prefix(), now).await?;
            waiting_rows::finish(&mut conn).await?;
            left -= now;
        }
        let published = relay_poll::once(servers, &self.deployment, self.waiting).await?;
        let mut figures = published.cost.figures("published", "row", "order");
        figures.push(Figure::new("memory of order", "MB", published.memory.rss_mb));
        Ok(figures)
    }

    async fn accept(&self, setting: &Setting, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        servers.create_databases([ServiceName::Order]).await?;
        let placing = Placing { connections: CONNECTIONS, rate: None, lines: self.lines };
        let accepted = accept(setting, servers, &self.deployment, placing).await?;
        Ok(accepted_figures(&accepted))
    }

    async fn accept_beside_pgbench(
        &self,
        setting: &Setting,
        servers: &Servers,
    ) -> anyhow::Result<Vec<Figure>> {
        let script = record(servers, self.lines).await?;
        let bench = Bench { setting, servers, script: &script };
        let mut figures = accepted_figures(&bench.order(CONNECTIONS, None, self.lines).await?);
        let beside = bench.pgbench(CONNECTIONS, None, 1).await?;
        figures.push(Figure::new("pgbench", "orders/s", beside.per_second));
        Ok(figures)
    }

    async fn apply(&self, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        waiting_events::prepare(servers, &self.deployment, self.skus(), &self.orders("apply"), self.events)
            .await?;
        let cost = waiting_events::apply(servers, &self.deployment, self.inbox_rows, self.events).await?;
        Ok(cost.figures("applied by inventory", "event", "inventory"))
    }

    async fn whole(&self, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        let system = System::start_as(servers, &self.deployment).await?;
        system.replenish(self.skus(), PLENTY).await?;
        system.drive(&self.orders("warm"), SYSTEM_CONNECTIONS, self.orders / 10 + 1, None).await?;
        let driven = system.drive(&self.orders("whole"), SYSTEM_CONNECTIONS, self.orders, None).await?;
        system.stop().await?;
        Ok(vec![
            Figure::new("ended", "orders/s", driven.ended_per_second),
            Figure::new("placed to ended, p50", "ms", driven.to_end.p50_ms()),
            Figure::new("placed to ended, p99", "ms", driven.to_end.p99_ms()),
            Figure::new("CPU of the five services for an order", "ms", driven.cpu_ms_of_services()),
            Figure::new("CPU of PostgreSQL for an order", "ms", driven.cpu_ms_of("PostgreSQL")),
        ])
    }

    fn orders(&self, run: &str) -> Orders {
        let hot = self.hot_per_cent;
        made(run, self.lines, move |number, line| {
            // 61 has no factor in common with 100: of a hundred orders in succession, so many are hot.
            if number * 61 % 100 < hot { format!("HOT-{line}") } else { spread(number, line) }
        })
    }

    fn skus(&self) -> Vec<String> {
        let hot = (0..self.lines).map(|line| format!("HOT-{line}"));
        hot.chain((0..SKUS).map(|sku| format!("SPREAD-{sku}"))).collect()
    }
}

fn spread(number: u64, line: usize) -> String {
    format!("SPREAD-{}", (number * 31 + line as u64 * 97) % SKUS)
}

fn accepted_figures(accepted: &Accepted) -> Vec<Figure> {
    let mut figures = accepted.cost.figures("accepted", "order", "order");
    figures.push(Figure::new("p50 of an answer", "ms", accepted.placed.latencies.p50_ms()));
    figures.push(Figure::new("p99 of an answer", "ms", accepted.placed.latencies.p99_ms()));
    figures
}
