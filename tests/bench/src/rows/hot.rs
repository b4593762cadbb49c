//! Orders that all want the same SKUs, beside orders that don't.

use super::{Measured, Setting};
use crate::figures::{Figure, Goal};
use crate::servers::Servers;
use crate::system::{System, made};

pub(super) const NAME: &str = "hot";
pub(super) const MEASURES: &str =
    "Orders of 3 lines through the five services with tracing, all of which want the same 3 SKUs.";
pub(super) const BESIDE: &str = "as many orders on the same system, spread over 5,000 SKUs.";

const PREFIX: &str = "bench-hot";
const CONNECTIONS: usize = 32;
const ORDERS: u64 = 2_000;
const LINES: usize = 3;
const SPREAD: u64 = 5_000;
const PLENTY: u64 = 10_000_000;

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let count = setting.scaled(ORDERS);
    let spread_sku = |number: u64, line: usize| (number * 3 + line as u64) * 7_919 % SPREAD;
    let system = System::start(servers, PREFIX).await?;
    let all: std::collections::BTreeSet<u64> =
        (0..count).flat_map(|number| (0..LINES).map(move |line| spread_sku(number, line))).collect();
    system.replenish(all.into_iter().map(|sku| format!("SPREAD-{sku}")), PLENTY).await?;
    system.replenish((0..LINES).map(|line| format!("HOT-{line}")), PLENTY).await?;
    let warm = made("hot-warm", LINES, |_, line| format!("HOT-{line}"));
    system.drive(&warm, CONNECTIONS, count / 10 + 1, None).await?;
    let orders =
        made("hot-spread", LINES, move |number, line| format!("SPREAD-{}", spread_sku(number, line)));
    let spread = system.drive(&orders, CONNECTIONS, count, None).await?;
    let hot =
        system.drive(&made("hot", LINES, |_, line| format!("HOT-{line}")), CONNECTIONS, count, None).await?;
    system.stop().await?;
    let figures = vec![
        Figure::new("ended, 3 hot SKUs", "orders/s", hot.ended_per_second)
            .beside("spread", spread.ended_per_second)
            .goal(Goal::RatioAtLeast(0.7)),
        Figure::new("placed to ended, p50", "ms", hot.to_end.p50_ms())
            .beside("spread", spread.to_end.p50_ms()),
        Figure::new("placed to ended, p99", "ms", hot.to_end.p99_ms())
            .beside("spread", spread.to_end.p99_ms()),
    ];
    Ok(Measured { figures, notes: Vec::new() })
}
