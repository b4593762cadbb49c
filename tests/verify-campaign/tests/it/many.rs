//! Many orders: a small system is copied until it is large, and `tidings verify` reads it in a process of its own.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use system::{ENDS_WITHIN, System};
use testkit::wait::eventually;
use tidings::verify::case::Case;
use tidings::verify::{self, Target};
use verify_campaign::multiply::Template;

use crate::Whole;

/// How many orders are copied.
const TEMPLATE: usize = 50;
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
        let (orders, verified) = (template.orders(), in_a_process(&target).await?);
        let line = format!("{orders} orders, written in {written:.0?}: {verified}");
        println!("{line}");
        lines.push(line);
    }
    system.stop().await?;
    Ok(lines)
}

/// Runs `tidings verify`; gives the most memory that it took, its time, and its verdicts.
async fn in_a_process(target: &Target) -> anyhow::Result<String> {
    let test = std::env::current_exe()?;
    let command = test.ancestors().nth(2).context("a test binary lies in deps/")?.join("tidings");
    let started = Instant::now();
    let mut child = Command::new(command)
        .args(["verify", "--postgres", &target.postgres, "--kafka", &target.kafka.bootstrap_servers])
        .args(["--registry", &target.registry, "--topics-prefix", &target.topics_prefix])
        .stdout(Stdio::piped())
        .spawn()?;
    let status = std::path::PathBuf::from(format!("/proc/{}", child.id()));
    let (mut memory, mut cpu) = (String::new(), 0);
    while child.try_wait()?.is_none() {
        if let Ok(read) = std::fs::read_to_string(status.join("status"))
            && let Some(peak) = read.lines().find_map(|line| line.strip_prefix("VmHWM:"))
        {
            memory = peak.trim().to_owned();
        }
        if let Ok(read) = std::fs::read_to_string(status.join("stat")) {
            let fields = read.rsplit(") ").next().unwrap_or_default().split(' ');
            cpu = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let elapsed = started.elapsed();
    let output = child.wait_with_output()?;
    let verdicts = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{verdicts}");
    Ok(format!("{elapsed:.1?}, {}.{:02} s of CPU, {memory} at most\n{verdicts}", cpu / 100, cpu % 100))
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_orders_hold() -> anyhow::Result<()> {
    grow(&[200, 2_200]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes an hour, and 40 GB of disk: make verify-million"]
async fn a_million_orders_hold_in_a_gigabyte() -> anyhow::Result<()> {
    let lines = grow(&[10_000, 100_000, 300_000, 1_000_000]).await?;
    println!("{}", lines.join("\n"));
    Ok(())
}
