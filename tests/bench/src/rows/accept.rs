//! Orders accepted over HTTP by order alone, beside pgbench with the statements that order was recorded to run.

use anyhow::Context as _;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _, Statement as _,
    TypeInfo as _,
};
use tidings::output;
use tidings::services::ServiceName;

use super::{Measured, Setting};
use crate::cost::{Cost, Used};
use crate::deployment::Deployment;
use crate::figures::{Figure, Goal};
use crate::load::{Connection, Load, Orders, Placed};
use crate::pgbench::Pgbench;
use crate::recorded::log::{Executed, transaction_with};
use crate::recorded::{Recording, Script, script};
use crate::servers::Servers;
use crate::service_process::ServiceProcess;
use crate::system::{customer, key, made};

pub(super) const NAME: &str = "accept";
pub(super) const MEASURES: &str = "Orders of 3 lines accepted over HTTP by order alone, its relay and its workers included, by a load \
    generator on the same cores.";
pub(super) const BESIDE: &str = "pgbench with as many clients, on a copy of the database, executing the statements that order was \
    recorded to run for one order, prepared, with new ids each time.";

/// What the service and pgbench work on.
const COPY: &str = "bench_pgbench";
const PREFIX: &str = "bench-accept";
/// Connections of the load at half of what was accepted.
const HALF_LOAD_CONNECTIONS: usize = 64;
const LINES: usize = 3;
const NO_END: u64 = u64::MAX;

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let script = record(servers, LINES).await?;
    let bench = Bench { setting, servers, script: &script };
    let mut measured = Measured::default();
    let mut accepted = 0.0;
    for (run, (connections, goal)) in (1..).zip([(16, 0.5), (64, 0.8)]) {
        let Accepted { placed, cost } = bench.order(connections, None, LINES).await?;
        let beside = bench.pgbench(connections, None, run).await?;
        if connections == 16 {
            accepted = placed.per_second();
            measured.figures.push(
                Figure::new("CPU of order for an order, 16 connections", "ms", cost.cpu_us / 1_000.0)
                    .goal(Goal::ValueAtMost(0.12)),
            );
        }
        measured.figures.push(
            Figure::new(format!("accepted, {connections} connections"), "orders/s", placed.per_second())
                .beside("pgbench", beside.per_second)
                .goal(Goal::RatioAtLeast(goal)),
        );
    }
    let rate = accepted / 2.0;
    let Accepted { placed, .. } = bench.order(HALF_LOAD_CONNECTIONS, Some(rate), LINES).await?;
    let beside = bench.pgbench(HALF_LOAD_CONNECTIONS, Some(rate), 3).await?;
    measured.figures.push(
        Figure::new(format!("p99 at {rate:.0} orders/s"), "ms", placed.latencies.p99_ms())
            .beside("pgbench", beside.latencies.p99_ms())
            .goal(Goal::RatioAtMost(3.0)),
    );
    measured.figures.push(
        Figure::new(format!("p50 at {rate:.0} orders/s"), "ms", placed.latencies.p50_ms())
            .beside("pgbench", beside.latencies.p50_ms()),
    );
    measured.notes.push(format!("One order is {} statements, BEGIN and COMMIT included.", script.statements));
    Ok(measured)
}

/// The orders of a run: each with a key of its own, of a thousand customers.
pub(super) fn orders(run: &str, lines: usize) -> Orders {
    made(run, lines, |number, line| format!("SKU-{:05}", (number + line as u64 * 7_919) % 20_000))
}

/// The orders that are placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placing {
    pub(crate) connections: usize,
    /// Orders a second; as many as are answered if nothing is said.
    pub(crate) rate: Option<f64>,
    pub(crate) lines: usize,
}

/// What order accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) placed: Placed,
    /// Its CPU time for an order, and that of PostgreSQL.
    pub(crate) cost: Cost,
}

/// Orders that order alone accepts. It is started for this and ended after it: pgbench would have to share the cores with its
/// relay.
///
/// # Errors
/// When one is refused.
pub(crate) async fn accept(
    setting: &Setting,
    servers: &Servers,
    deployment: &Deployment,
    Placing { connections, rate, lines }: Placing,
) -> anyhow::Result<Accepted> {
    let (deployment, traces) = deployment.with_receiver().await?;
    let order = ServiceProcess::start(servers, ServiceName::Order, &deployment).await?;
    let run = format!("r{}", contracts::clock::new_id().simple());
    let load = Load {
        addresses: vec![order.address],
        connections,
        rate,
        wait_seconds: None,
        count: NO_END,
        duration: setting.seconds(3),
    };
    load.run(&orders(&format!("{run}-warm"), lines)).await?;
    servers.checkpoint().await?;
    let used = Used::now(servers, &[order.pid]);
    let placed = Load { duration: setting.seconds(15), ..load }.run(&orders(&run, lines)).await?;
    let cost = used.cost(placed.latencies.count() as f64, placed.took);
    output::diagnostic(&format!("order: {:.0} orders/s on {connections} connections", placed.per_second()));
    order.check()?;
    order.stop().await?;
    if let Some(traces) = traces {
        traces.stop().await;
    }
    Ok(Accepted { placed, cost })
}

/// Both sides of the row.
pub(crate) struct Bench<'a> {
    pub(crate) setting: &'a Setting,
    pub(crate) servers: &'a Servers,
    pub(crate) script: &'a Script,
}

impl Bench<'_> {
    pub(crate) async fn order(
        &self,
        connections: usize,
        rate: Option<f64>,
        lines: usize,
    ) -> anyhow::Result<Accepted> {
        accept(self.setting, self.servers, &Deployment::new(PREFIX), Placing { connections, rate, lines })
            .await
    }

    pub(crate) async fn pgbench(
        &self,
        clients: usize,
        rate: Option<f64>,
        run: u32,
    ) -> anyhow::Result<crate::pgbench::Outcome> {
        let (servers, script) = (self.servers, self.script);
        let warm = Pgbench {
            servers,
            script,
            database: COPY,
            clients,
            rate: None,
            duration: self.setting.seconds(3),
            run: run * 2,
        };
        warm.run().await?;
        servers.checkpoint().await?;
        let bench = Pgbench { rate, duration: self.setting.seconds(15), run: run * 2 + 1, ..warm };
        let outcome = bench.run().await?;
        output::diagnostic(&format!(
            "pgbench: {:.0} transactions/s of {clients} clients",
            outcome.per_second
        ));
        Ok(outcome)
    }
}

/// Records what order runs for an order of so many lines, on a database that is empty otherwise, and leaves a copy of it for
/// pgbench.
pub(crate) async fn record(servers: &Servers, lines: usize) -> anyhow::Result<Script> {
    servers.create_databases([ServiceName::Order]).await?;
    let mut server = servers.connect("postgres").await?;
    // Creates the tables; what it logs is not looked at.
    ServiceProcess::start(servers, ServiceName::Order, &Deployment::new(PREFIX)).await?.stop().await?;
    sqlx::query("CREATE DATABASE bench_pgbench TEMPLATE tidings_order").execute(&mut server).await?;
    sqlx::query("ALTER DATABASE tidings_order SET log_min_duration_statement = 0")
        .execute(&mut server)
        .await?;
    let order = ServiceProcess::start(servers, ServiceName::Order, &Deployment::new(PREFIX)).await?;
    // The first ones meet what is prepared once; then two are recorded.
    let run = format!("p{}", contracts::clock::new_id().simple());
    let mut connection = Connection::open(order.address).await?;
    for number in 0..4 {
        connection.place(&orders(&run, lines)(number)).await?;
    }
    order.stop().await?;
    sqlx::query("ALTER DATABASE tidings_order RESET log_min_duration_statement").execute(&mut server).await?;
    server.close().await?;
    let log = std::fs::read_to_string(servers.log()).context("reading the log of PostgreSQL")?;
    let recording = |number: u64| -> anyhow::Result<Recording> {
        let statements = transaction_with(&log, &key(&run, number));
        anyhow::ensure!(
            !statements.is_empty(),
            "no statement of the order {number} is in {}",
            servers.log().display()
        );
        Ok(Recording { statements, key: key(&run, number), customer: customer(number) })
    };
    let (first, second) = (recording(2)?, recording(3)?);
    let mut copy = servers.connect(COPY).await?;
    let mut types = Vec::new();
    for statement in &first.statements {
        types.push(parameter_types(&mut copy, statement).await?);
    }
    copy.close().await?;
    script(&first, &second, &types)
}

/// The types that PostgreSQL gives the parameters of a statement.
async fn parameter_types(conn: &mut PgConnection, statement: &Executed) -> anyhow::Result<Vec<String>> {
    if statement.parameters.is_empty() {
        return Ok(Vec::new());
    }
    let prepared = conn
        .prepare(AssertSqlSafe(statement.sql.clone()).into_sql_str())
        .await
        .with_context(|| format!("preparing {}", statement.sql))?;
    let parameters = prepared.parameters().and_then(sqlx::Either::left).unwrap_or_default();
    Ok(parameters.iter().map(|kind| kind.name().to_lowercase()).collect())
}
