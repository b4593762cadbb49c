//! Reservations of one SKU, with its stock kept in one row, in several rows, and in a row per unit.

mod design;
mod transaction;

use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgConnection;
use tidings::output;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Measured, Setting};
use crate::figures::Figure;
use crate::servers::Servers;
use design::Design;

pub(super) const NAME: &str = "hot-designs";
pub(super) const MEASURES: &str = "Orders of one unit of the same SKU, reserved in batches as inventory does it, with the SQL of three \
    designs: one row per SKU (what ships), eight rows per SKU, one row per unit. The last two lock with SKIP LOCKED.";
pub(super) const BESIDE: &str = "one row per SKU, with as many orders in a transaction and as many sessions.";

const DATABASE: &str = "bench_hot_designs";
const BATCHES: [usize; 3] = [1, 10, 100];
const SESSIONS: [usize; 3] = [1, 2, 4];
/// More than is sold in a run.
const STOCK: u64 = 200_000;
/// Less than the sessions want together: every unit is sold, and none twice.
const SHORT_STOCK: u64 = 1_000;
const RUN_MS: u64 = 3_000;

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let mut server = servers.connect("postgres").await?;
    sqlx::query("CREATE DATABASE bench_hot_designs").execute(&mut server).await?;
    let duration = Duration::from_millis(setting.scaled(RUN_MS));
    let mut measured = Measured::default();
    for design in Design::ALL {
        sell_out(servers, design).await?;
    }
    for batch in BATCHES {
        for sessions in SESSIONS {
            let name = |design: Design| {
                format!("{}, {batch} orders per transaction, sessions: {sessions}", design.name())
            };
            let mut of_one_row = None;
            for design in Design::ALL {
                let stock = setting.scaled(STOCK);
                let per_second = Run { servers, design, batch, sessions, stock }.reserve(duration).await?;
                output::diagnostic(&format!("{}: {per_second:.0} orders/s", name(design)));
                let figure = Figure::new(name(design), "orders/s", per_second);
                measured.figures.push(match *of_one_row.get_or_insert(per_second) {
                    _ if design == Design::OneRow => figure,
                    beside => figure.beside("one row", beside),
                });
            }
        }
    }
    measured.notes.push(
        "After each run, reserved and available units are the stock, and each reserved order has its unit. Before the runs, \
         each design sold a stock that was smaller than what four sessions wanted, to the last unit and none twice."
            .to_owned(),
    );
    Ok(measured)
}

/// Four sessions want more than there is.
async fn sell_out(servers: &Servers, design: Design) -> anyhow::Result<()> {
    let run = Run { servers, design, batch: 7, sessions: 4, stock: SHORT_STOCK };
    run.prepare().await?;
    let mut sessions = JoinSet::new();
    for _ in 0..run.sessions {
        let mut conn = servers.connect(DATABASE).await?;
        sessions.spawn(async move {
            while transaction::reserve(&mut conn, design, run.batch).await? == run.batch {}
            anyhow::Ok(())
        });
    }
    while let Some(ended) = sessions.join_next().await {
        ended??;
    }
    let left = run.check().await?;
    anyhow::ensure!(left == 0, "{} units of {} are left, though orders were rejected", left, design.name());
    Ok(())
}

/// One run: a design, and how it is used.
#[derive(Clone, Copy)]
struct Run<'a> {
    servers: &'a Servers,
    design: Design,
    batch: usize,
    sessions: usize,
    stock: u64,
}

impl Run<'_> {
    /// Reserves for so long; gives orders per second.
    async fn reserve(self, duration: Duration) -> anyhow::Result<f64> {
        self.prepare().await?;
        let mut connections = Vec::new();
        for _ in 0..self.sessions {
            let mut conn = self.servers.connect(DATABASE).await?;
            // Prepares the statements.
            transaction::reserve(&mut conn, self.design, 1).await?;
            connections.push(conn);
        }
        self.servers.checkpoint().await?;
        let began = Instant::now();
        let mut sessions = JoinSet::new();
        for conn in connections {
            sessions.spawn(reserve_until(conn, self.design, self.batch, began + duration));
        }
        let mut reserved = 0;
        while let Some(ended) = sessions.join_next().await {
            reserved += ended??;
        }
        let took = began.elapsed();
        let left = self.check().await?;
        anyhow::ensure!(left > 0, "{} was sold out during the run", self.design.name());
        Ok(reserved as f64 / took.as_secs_f64())
    }

    async fn prepare(self) -> anyhow::Result<()> {
        let mut conn = self.servers.connect(DATABASE).await?;
        let stock = i64::try_from(self.stock)?;
        design::prepare(&mut conn, self.design, stock).await.context("preparing a stock")
    }

    /// Holds the books against the orders; gives how many units are available.
    async fn check(self) -> anyhow::Result<i64> {
        let mut conn = self.servers.connect(DATABASE).await?;
        let books = self.design.books(&mut conn).await?;
        let orders = design::reserved_orders(&mut conn).await?;
        let stock = i64::try_from(self.stock)?;
        anyhow::ensure!(
            books.available >= 0 && books.available + books.reserved == stock && books.reserved == orders,
            "{}: {books:?} of a stock of {stock}, with {orders} reserved orders",
            self.design.name()
        );
        Ok(books.available)
    }
}

async fn reserve_until(
    mut conn: PgConnection,
    design: Design,
    batch: usize,
    until: Instant,
) -> anyhow::Result<usize> {
    let mut reserved = 0;
    while Instant::now() < until {
        reserved += transaction::reserve(&mut conn, design, batch).await?;
    }
    Ok(reserved)
}
