//! Real orders through the whole system.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tidings::import::encoding::Encoding;
use tidings::import::place::{order_key, request};
use tidings::import::rules::{Line, NewOrder};
use tidings::import::{self, file};

use super::{Measured, Setting};
use crate::deployment::Deployment;
use crate::figures::{Figure, Goal};
use crate::load::{Order, Orders};
use crate::processes::{Memory, memory};
use crate::servers::Servers;
use crate::system::{Driven, System, customer};

pub(super) const NAME: &str = "whole";
pub(super) const MEASURES: &str = "Orders of 22 lines on average from placed to ended, through the five services with tracing: at full \
    speed on 32 connections, then at half of the rate at which they ended.";
pub(super) const BESIDE: &str = "nothing; the CPU time is split by process instead.";

const PREFIX: &str = "bench-whole";
const CONNECTIONS: usize = 32;
/// The field of a request that has the lines.
const LINES: &str = "lines";
const FULL: u64 = 4_000;
const HALF: u64 = 1_000;
/// Units of each SKU: more than any file sells.
const PLENTY: u64 = 10_000_000;
/// Lines and SKUs of orders that are made, as in the file of real ones.
const MADE_LINES: u64 = 22;
const MADE_SKUS: u64 = 3_600;

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let (full, half) = (setting.scaled(FULL), setting.scaled(HALF));
    let all = orders(setting, full + half)?;
    let (first, rest) = all.split_at(all.len().min(usize::try_from(full)?));
    anyhow::ensure!(!rest.is_empty(), "{} orders are too few: more than {full} are needed", all.len());
    let system = System::start(servers, PREFIX).await?;
    system.replenish(skus(&all), PLENTY).await?;
    let fast = system.drive(&sequence(first, LINES), CONNECTIONS, first.len() as u64, None).await?;
    let memories: Vec<Memory> = system.pids().into_iter().map(|(_, pid)| memory(pid)).collect();
    let rate = fast.ended_per_second / 2.0;
    let count = half.min(rest.len() as u64);
    let calm = system.drive(&sequence(rest, LINES), CONNECTIONS, count, Some(rate)).await?;
    system.stop().await?;
    let mut figures = figures(&fast, &calm, rate);
    let sum = |part: fn(&Memory) -> f64| memories.iter().map(part).sum();
    figures.push(Figure::new(
        "memory of the five services after full speed",
        "MB",
        sum(|memory| memory.rss_mb),
    ));
    figures.push(
        Figure::new(
            "anonymous memory of the five services after full speed",
            "MB",
            sum(|memory| memory.anonymous_mb),
        )
        .goal(Goal::ValueAtMost(120.0)),
    );
    Ok(Measured { figures, notes: vec![source(setting, first)] })
}

/// The orders of the file, or so many that are made.
pub(super) fn orders(setting: &Setting, count: u64) -> anyhow::Result<Vec<NewOrder>> {
    match &setting.orders {
        Some(file) => real(file),
        None => Ok((0..count).map(made).collect()),
    }
}

/// So many orders that no database has had before.
pub(super) fn anew(setting: &Setting, count: u64) -> anyhow::Result<Vec<NewOrder>> {
    let run = contracts::clock::new_id().simple();
    let mut orders = orders(setting, count)?;
    orders.truncate(usize::try_from(count)?);
    for order in &mut orders {
        order.invoice = format!("{}-{run}", order.invoice);
    }
    Ok(orders)
}

/// These orders at full speed. The services are started for it and ended after it, so that those of another deployment do nothing
/// meanwhile; their databases stay.
///
/// # Errors
/// When an order is refused, or does not end in time.
pub(super) async fn once(
    servers: &Servers,
    deployment: &Deployment,
    orders: &[NewOrder],
) -> anyhow::Result<Driven> {
    let system = System::start_as(servers, deployment).await?;
    system.replenish(skus(orders), PLENTY).await?;
    let driven = system
        .drive(&sequence(orders, deployment.lines_field()), CONNECTIONS, orders.len() as u64, None)
        .await?;
    system.stop().await?;
    Ok(driven)
}

/// Where these orders are from.
pub(super) fn source(setting: &Setting, orders: &[NewOrder]) -> String {
    let source = if setting.orders.is_some() { "Real orders of a file" } else { "Made orders" };
    let lines: usize = orders.iter().map(|order| order.lines.len()).sum();
    format!("{source}, {:.1} lines on average.", lines as f64 / orders.len().max(1) as f64)
}

fn figures(fast: &Driven, calm: &Driven, rate: f64) -> Vec<Figure> {
    let mut figures = vec![
        Figure::new("accepted", "orders/s", fast.accepted_per_second),
        Figure::new("ended", "orders/s", fast.ended_per_second),
        Figure::new("placed to ended at full speed, p50", "ms", fast.to_end.p50_ms()),
        Figure::new("placed to ended at full speed, p99", "ms", fast.to_end.p99_ms()),
        Figure::new(format!("placed to ended at {rate:.0} orders/s, p50"), "ms", calm.to_end.p50_ms()),
        Figure::new(format!("placed to ended at {rate:.0} orders/s, p99"), "ms", calm.to_end.p99_ms())
            .goal(Goal::ValueAtMost(1_000.0)),
    ];
    for (process, cpu_ms) in &fast.cpu_ms {
        let figure = Figure::new(format!("CPU of {process} for an order"), "ms", *cpu_ms);
        figures.push(if process == "Kafka" { figure.goal(Goal::ValueAtMost(1.5)) } else { figure });
    }
    figures
}

/// The orders of a file.
fn real(path: &Path) -> anyhow::Result<Vec<NewOrder>> {
    let invoices =
        file::read(path, Encoding::default()).with_context(|| format!("reading {}", path.display()))?;
    Ok(import::judge_all(invoices).orders)
}

/// An order in the form of the real ones: 1 to 43 lines.
fn made(number: u64) -> NewOrder {
    let count = 1 + number * 7 % (2 * MADE_LINES - 1);
    let line = |line: u64| Line {
        sku: format!("M{:04}", (number * 31 + line * 97) % MADE_SKUS),
        quantity: i64::try_from(1 + line % 12).unwrap_or(1),
        unit_price_minor: i64::try_from(85 + line * 13).unwrap_or(1),
    };
    NewOrder {
        invoice: format!("made-{number}"),
        customer_id: customer(number),
        lines: (0..count).map(line).collect(),
    }
}

fn skus(orders: &[NewOrder]) -> std::collections::BTreeSet<String> {
    orders.iter().flat_map(|order| &order.lines).map(|line| line.sku.clone()).collect()
}

/// As `tidings import` sends them, with their lines in this field.
fn sequence(orders: &[NewOrder], lines_field: &str) -> Orders {
    let placed = |order: &NewOrder| {
        let mut body = request(order);
        if let Some(fields) = body.as_object_mut()
            && let Some(lines) = fields.remove(LINES)
        {
            fields.insert(lines_field.to_owned(), lines);
        }
        Order { key: order_key(&order.invoice), body: body.to_string() }
    };
    let orders: Vec<Order> = orders.iter().map(placed).collect();
    Arc::new(move |number| {
        let at = usize::try_from(number).unwrap_or_default() % orders.len();
        orders[at].clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_orders_have_as_many_lines_as_real_ones() {
        let orders: Vec<NewOrder> = (0..4_300).map(made).collect();
        let lines: usize = orders.iter().map(|order| order.lines.len()).sum();
        assert_eq!(lines / orders.len(), 22);
        let placed = sequence(&orders, LINES);
        assert_eq!(placed(4_299).key, "invoice-made-4299");
        assert!(placed(0).body.contains("\"lines\":["));
        assert!(sequence(&orders, "items")(0).body.contains("\"items\":["));
    }
}
