//! What the services cost while nothing happens, and how soon they are ready.

use std::time::Duration;

use tidings::output;
use tidings::services::ServiceName;
use tokio::time::{Instant, sleep_until};

use super::{Measured, Setting};
use crate::deployment::Deployment;
use crate::figures::{Figure, Goal};
use crate::latencies::Latencies;
use crate::load::Connection;
use crate::processes::{Memory, cpu_seconds, memory};
use crate::servers::Servers;
use crate::service_process::ServiceProcess;
use crate::system::System;

pub(super) const NAME: &str = "rest";
pub(super) const MEASURES: &str = "CPU time and memory of the five services while nothing happens, over a minute in which their metrics are \
    read every 15 s; and from the start of a process to ready, with database and broker up.";
pub(super) const BESIDE: &str = "Kafka's CPU time before the services were there.";

const PREFIX: &str = "bench-rest";
const SCRAPE_INTERVAL: Duration = Duration::from_secs(15);
const SCRAPES: u32 = 4;
const STARTS: usize = 3;

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let scrapes = if setting.quick { 0 } else { SCRAPES };
    let alone = kafka_share(servers, setting.seconds(15)).await;
    let system = System::start(servers, PREFIX).await?;
    // What the start left behind: rebalances, first fetches.
    sleep_until(Instant::now() + setting.seconds(15)).await;
    let (before, started) = (system.cpu(), Instant::now());
    sleep_until(started + Duration::from_secs(1)).await;
    for scrape in 1..=scrapes {
        sleep_until(started + SCRAPE_INTERVAL * scrape).await;
        for service in ServiceName::ALL {
            Connection::open(system.address(service)?).await?.get("/metrics").await?;
        }
    }
    let (after, seconds) = (system.cpu(), started.elapsed().as_secs_f64());
    let memories: Vec<Memory> = system.pids().into_iter().map(|(_, pid)| memory(pid)).collect();
    system.stop().await?;
    let share = |name: &str| {
        let of =
            |cpu: &[(String, f64)]| cpu.iter().find(|(other, _)| other == name).map_or(0.0, |(_, cpu)| *cpu);
        (of(&after) - of(&before)) / seconds * 100.0
    };
    let mut figures = vec![
        Figure::new(
            "CPU of the five services",
            "% of a core",
            ServiceName::NAMES.into_iter().map(share).sum(),
        )
        .goal(Goal::ValueAtMost(2.0)),
    ];
    figures.extend(
        ServiceName::NAMES.map(|name| Figure::new(format!("CPU of {name}"), "% of a core", share(name))),
    );
    figures
        .push(Figure::new("CPU of Kafka", "% of a core", share("Kafka")).beside("without services", alone));
    figures.push(Figure::new("CPU of PostgreSQL", "% of a core", share("PostgreSQL")));
    let sum = |part: fn(&Memory) -> f64| memories.iter().map(part).sum();
    figures.push(Figure::new("memory of the five services", "MB", sum(|memory| memory.rss_mb)));
    figures.push(
        Figure::new("anonymous memory of the five services", "MB", sum(|memory| memory.anonymous_mb))
            .goal(Goal::ValueAtMost(50.0)),
    );
    figures.push(
        Figure::new(
            "start to ready, slowest",
            "ms",
            ready(servers, &Deployment::new(PREFIX)).await?.ms(1_000),
        )
        .goal(Goal::ValueAtMost(200.0)),
    );
    Ok(Measured { figures, notes: Vec::new() })
}

async fn kafka_share(servers: &Servers, over: Duration) -> f64 {
    let before = cpu_seconds(servers.kafka.pid);
    let started = Instant::now();
    sleep_until(started + over).await;
    (cpu_seconds(servers.kafka.pid) - before) / started.elapsed().as_secs_f64() * 100.0
}

/// Each service several times, on the databases and topics that are there.
///
/// # Errors
/// When one does not get ready.
pub(super) async fn ready(servers: &Servers, deployment: &Deployment) -> anyhow::Result<Latencies> {
    let mut us = Vec::new();
    for service in ServiceName::ALL {
        for _ in 0..STARTS {
            let started = ServiceProcess::start(servers, service, deployment).await?;
            output::diagnostic(&format!("{service} was ready after {} ms", started.ready_after.as_millis()));
            us.push(u64::try_from(started.ready_after.as_micros()).unwrap_or(u64::MAX));
            started.stop().await?;
        }
    }
    Ok(Latencies::new(us))
}
