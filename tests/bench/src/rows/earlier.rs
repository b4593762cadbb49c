//! The whole system beside an earlier commit of it, which stands for what the system was before it was made fast.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::whole::{once, orders, source};
use super::{Measured, Setting};
use crate::deployment::Deployment;
use crate::figures::{Figure, Goal};
use crate::servers::Servers;
use crate::system::Driven;

pub(super) const NAME: &str = "earlier";
pub(super) const MEASURES: &str = "Orders of 22 lines on average from placed to ended, through the five services with tracing, at full speed \
    on 32 connections: twice, alternately with the other side, each on a PostgreSQL of its own; the slower run of each side counts.";
pub(super) const BESIDE: &str = "the same orders through the services of commit eba3fbb, as its images had them (tests/bench/earlier/build).";

/// The commit, as its folder is named.
const COMMIT: &str = "eba3fbb";
const ORDERS: u64 = 2_000;
const ROUNDS: usize = 2;

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let binaries = binaries()?;
    let count = usize::try_from(setting.scaled(ORDERS))?;
    let all = orders(setting, ORDERS * ROUNDS as u64)?;
    anyhow::ensure!(all.len() >= count * ROUNDS, "{} orders are too few", all.len());
    let own = Servers::start(&setting.kafka, &setting.binaries).await?;
    let prefix = format!("bench-{}", contracts::clock::new_id().simple());
    let earlier = Deployment::earlier(format!("{prefix}-earlier"), binaries).traces(100);
    let today = Deployment::new(prefix).traces(100);
    let (mut before, mut now) = (None, None);
    for round in all.chunks(count).take(ROUNDS) {
        slower(&mut before, once(&own, &earlier, round).await.context(COMMIT)?);
        slower(&mut now, once(servers, &today, round).await?);
    }
    let (Some(before), Some(now)) = (before, now) else { anyhow::bail!("nothing was measured") };
    let figures = figures(&before, &now);
    Ok(Measured { figures, notes: vec![source(setting, &all[..count * ROUNDS])] })
}

/// Keeps the slower run.
fn slower(kept: &mut Option<Driven>, run: Driven) {
    if kept.as_ref().is_none_or(|kept| run.ended_per_second < kept.ended_per_second) {
        *kept = Some(run);
    }
}

fn figures(before: &Driven, now: &Driven) -> Vec<Figure> {
    let mut figures = vec![
        Figure::new("ended", "orders/s", now.ended_per_second)
            .beside(COMMIT, before.ended_per_second)
            .goal(Goal::RatioAtLeast(5.0)),
        Figure::new("accepted", "orders/s", now.accepted_per_second)
            .beside(COMMIT, before.accepted_per_second),
        Figure::new("placed to ended, p50", "ms", now.to_end.p50_ms()).beside(COMMIT, before.to_end.p50_ms()),
        Figure::new("CPU of the five services for an order", "ms", now.cpu_ms_of_services())
            .beside(COMMIT, before.cpu_ms_of_services()),
    ];
    // Why it is not more: nothing waits while the processors are busy.
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let all_ms: f64 = now.cpu_ms.iter().map(|(_, cpu_ms)| cpu_ms).sum();
    figures.push(
        Figure::new("ended, of what the processors carry", "orders/s", now.ended_per_second)
            .beside("all cores at the CPU time of an order", cores * 1_000.0 / all_ms.max(0.001))
            .goal(Goal::RatioAtLeast(0.9)),
    );
    for (process, cpu_ms) in &now.cpu_ms {
        let beside = before.cpu_ms_of(process);
        figures.push(
            Figure::new(format!("CPU of {process} for an order"), "ms", *cpu_ms).beside(COMMIT, beside),
        );
    }
    figures
}

/// The folder of its binaries.
fn binaries() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join("target/earlier").join(COMMIT).join("image");
    folder.canonicalize().with_context(|| {
        format!(
            "binaries of {COMMIT} are missing: tests/bench/earlier/build, which takes a quarter of an hour"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_the_one_that_is_built() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("earlier/build");
        let text = std::fs::read_to_string(script).unwrap();
        assert!(text.contains(&format!("\ncommit={COMMIT}\n")), "{text}");
    }

    #[test]
    fn the_slower_run_counts() {
        let run = |ended_per_second| Driven {
            accepted_per_second: 9.0,
            ended_per_second,
            to_answer: Default::default(),
            to_end: Default::default(),
            cpu_ms: vec![("order".to_owned(), 2.0)],
        };
        let mut kept = None;
        for ended_per_second in [3.0, 2.0, 4.0] {
            slower(&mut kept, run(ended_per_second));
        }
        let figures = figures(&run(1.0), &kept.unwrap());
        assert_eq!((figures[0].value, figures[0].ratio, figures[0].met), (2.0, Some(2.0), Some(false)));
        assert_eq!(figures.last().unwrap().ratio, Some(1.0));
    }
}
