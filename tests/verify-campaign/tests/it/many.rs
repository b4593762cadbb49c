//! Many orders: a small system is copied until it is large, and `tidings verify` reads it in a process of its own.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use system::{ENDS_WITHIN, System};
use testkit::wait::eventually;
use tidings::verify::case::Case;
use tidings::verify::{self, Target};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use verify_campaign::multiply::Template;

use crate::Whole;

/// How many orders are copied.
const TEMPLATE: usize = 50;
/// How many orders a second the follower's scrub compares.
const SCRUB_RATE: &str = "2000";
/// Articles.
const SKUS: usize = 20;

/// A system with some orders of every kind that needs no waiting.
async fn template(system: &System) -> anyhow::Result<()> {
    for sku in 0..SKUS {
        system.replenish(&format!("SKU-{sku}"), 1_000_000).await?;
    }
    let methods = ["tok_visa", "tok_visa", "tok_declined", "tok_visa", "tok_fraud", "tok_visa"];
    let mut orders = Vec::new();
    for number in 0..TEMPLATE {
        let line = |at: usize| {
            let sku = if number % 10 == 9 {
                "SOLD-OUT".to_owned()
            } else {
                format!("SKU-{}", (number + at) % SKUS)
            };
            json!({ "sku": sku, "quantity": 1 + at, "unit_price_minor": 95 + at })
        };
        let mut body = system::request("SKU-0", 1, methods[number % methods.len()]);
        body["lines"] = json!([line(0), line(1), line(2)]);
        orders.push(crate::scenario::place(system, &body).await?);
    }
    for order_id in orders {
        system.ended(order_id).await;
    }
    Ok(())
}

/// Grows a system to each of these sizes, and verifies it; gives a line a size.
async fn grow(sizes: &[usize]) -> anyhow::Result<Vec<String>> {
    let mut system = System::start().await;
    template(&system).await?;
    let target = Target::from(system.stack().system());
    let codec = verify::codec(&target).await?;
    let whole = eventually("the system is quiet, and holds", ENDS_WITHIN, async || {
        let whole: Whole = crate::read(&system, &codec).await?;
        let report = whole.verify(&whole.history, &whole.snapshot);
        let is_quiet = Case::new(&whole.topics, &whole.history, &whole.snapshot).is_quiet();
        if is_quiet && report.holds() { Ok(whole) } else { Err(anyhow::anyhow!("{report}")) }
    })
    .await;
    system.stop_services().await?;
    let mut template = Template::read(&target, codec.topics(), &whole.history).await?;
    drop(whole);
    let mut lines = Vec::new();
    for size in sizes {
        let started = Instant::now();
        template.grow(*size).await?;
        let written = started.elapsed();
        let (orders, verified) = (template.orders(), verified(&target).await?);
        let line = format!("{orders} orders, written in {written:.0?}: {verified}");
        println!("{line}");
        lines.push(line);
    }
    let line = followed(&target).await?;
    println!("{line}");
    lines.push(line);
    system.stop().await?;
    Ok(lines)
}

/// `tidings verify` as a process of its own.
fn command(target: &Target, arguments: &[&str]) -> anyhow::Result<Command> {
    let test = std::env::current_exe()?;
    let program = test.ancestors().nth(2).context("a test binary lies in deps/")?.join("tidings");
    let mut command = Command::new(program);
    command
        .args(["verify", "--postgres", &target.postgres, "--kafka", &target.kafka.bootstrap_servers])
        .args(["--registry", &target.registry, "--topics-prefix", &target.topics_prefix])
        .args(arguments)
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

/// The most memory that a process has taken, and its seconds of CPU.
fn cost(pid: u32) -> Option<(String, f64)> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let peak =
        read("status")?.lines().find_map(|line| Some(line.strip_prefix("VmHWM:")?.trim().to_owned()))?;
    let stat = read("stat")?;
    let ticks = stat.rsplit(") ").next()?.split(' ').skip(11).take(2).filter_map(|it| it.parse::<f64>().ok());
    Some((peak, ticks.sum::<f64>() / 100.0))
}

/// Runs `tidings verify`; gives its time, the most memory that it took, and its verdicts.
async fn verified(target: &Target) -> anyhow::Result<String> {
    let started = Instant::now();
    let mut child = command(target, &[])?.spawn()?;
    let pid = child.id().context("it has just begun")?;
    let mut last = (String::new(), 0.0);
    while child.try_wait()?.is_none() {
        last = cost(pid).unwrap_or(last);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (elapsed, (memory, cpu)) = (started.elapsed(), last);
    let output = child.wait_with_output().await?;
    let verdicts = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{verdicts}");
    Ok(format!("{elapsed:.1?}, {cpu:.1} s of CPU, {memory} at most\n{verdicts}"))
}

/// Runs `tidings verify --follow` for a full cycle of its scrub; gives the same.
async fn followed(target: &Target) -> anyhow::Result<String> {
    let started = Instant::now();
    let mut child =
        command(target, &["--follow", "--format", "json", "--scrub-rate", SCRUB_RATE])?.spawn()?;
    let pid = child.id().context("it has just begun")?;
    let mut lines = BufReader::new(child.stdout.take().context("its output is read")?).lines();
    let state = loop {
        let line = lines.next_line().await?.context("it goes on")?;
        let update: Value = serde_json::from_str(&line)?;
        ensure!(update["kind"] == "state", "{line}");
        if update["scrub"]["completed"].as_u64() > Some(0) {
            break line;
        }
    };
    let (elapsed, (memory, cpu)) = (started.elapsed(), cost(pid).context("it runs")?);
    let sent = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status()?;
    ensure!(sent.success() && child.wait().await?.success(), "it ends with 0 after SIGTERM");
    Ok(format!("followed for {elapsed:.1?}, {cpu:.1} s of CPU, {memory} at most: {state}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_orders_hold() -> anyhow::Result<()> {
    grow(&[200, 2_200]).await.map(drop)
}

/// How many orders: a million in four steps, unless `TIDINGS_TEST_ORDERS` lists others, separated by commas.
#[expect(clippy::disallowed_methods, reason = "other sizes are asked for by the environment")]
fn sizes() -> anyhow::Result<Vec<usize>> {
    let asked =
        std::env::var("TIDINGS_TEST_ORDERS").unwrap_or_else(|_| "10000,100000,300000,1000000".to_owned());
    asked
        .split(',')
        .map(|size| size.parse().with_context(|| format!("{size} is no number of orders")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes an hour, and 40 GB of disk: make verify-million"]
async fn a_million_orders_hold_in_a_gigabyte() -> anyhow::Result<()> {
    let lines = grow(&sizes()?).await?;
    println!("{}", lines.join("\n"));
    Ok(())
}
