//! Orders placed with `Prefer: wait`: answered when they have ended.

use super::{Measured, Setting};
use crate::figures::Figure;
use crate::load::Load;
use crate::servers::Servers;
use crate::system::{System, made};

pub(super) const NAME: &str = "wait";
pub(super) const MEASURES: &str = "Orders of 3 lines through the five services with tracing, placed with Prefer: wait, at half of the rate at \
    which they end at full speed: from a request to its answer, which shows the order's end.";
pub(super) const BESIDE: &str =
    "as many at the same rate on the same system without it, from placed to ended by the clock of order.";

const PREFIX: &str = "bench-wait";
/// Enough for a rate at which each answer takes a second.
const CONNECTIONS: usize = 128;
const FULL_SPEED_CONNECTIONS: usize = 32;
const ORDERS: u64 = 2_000;
const LINES: usize = 3;
const SKUS: u64 = 500;
const PLENTY: u64 = 10_000_000;
const WAIT_SECONDS: u64 = 20;

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let count = setting.scaled(ORDERS);
    let sku = |number: u64, line: usize| format!("WAIT-{}", (number * 31 + line as u64 * 97) % SKUS);
    let system = System::start(servers, PREFIX).await?;
    system.replenish((0..SKUS).map(|sku| format!("WAIT-{sku}")), PLENTY).await?;
    let fast = system.drive(&made("wait-fast", LINES, sku), FULL_SPEED_CONNECTIONS, count, None).await?;
    let rate = fast.ended_per_second / 2.0;
    let load = Load { connections: CONNECTIONS, rate: Some(rate), count, ..system.load() };
    let beside = system.drive_as(&made("wait-without", LINES, sku), load.clone()).await?;
    let load = Load { wait_seconds: Some(WAIT_SECONDS), ..load };
    let waited = system.drive_as(&made("wait", LINES, sku), load).await?;
    system.stop().await?;
    let figures = vec![
        Figure::new(
            format!("answered with the end at {rate:.0} orders/s, p50"),
            "ms",
            waited.to_answer.p50_ms(),
        )
        .beside("placed to ended", beside.to_end.p50_ms()),
        Figure::new(
            format!("answered with the end at {rate:.0} orders/s, p99"),
            "ms",
            waited.to_answer.p99_ms(),
        )
        .beside("placed to ended", beside.to_end.p99_ms()),
        Figure::new("placed to ended, p50", "ms", waited.to_end.p50_ms())
            .beside("without", beside.to_end.p50_ms()),
        Figure::new("CPU of order for an order", "ms", waited.cpu_ms_of("order"))
            .beside("without", beside.cpu_ms_of("order")),
        Figure::new("CPU of PostgreSQL for an order", "ms", waited.cpu_ms_of("PostgreSQL"))
            .beside("without", beside.cpu_ms_of("PostgreSQL")),
    ];
    Ok(Measured { figures, notes: Vec::new() })
}
