//! Missed goals, each beside the services without the part that the miss is attributed to.

use tidings::output;

use super::accept::{Placing, accept};
use super::{Measured, Setting, idle, rest, whole};
use crate::deployment::Deployment;
use crate::experiments::{EXPERIMENTS, Experiment, Missed};
use crate::figures::{Figure, Goal};
use crate::servers::Servers;
use crate::system::System;
use crate::without::{self, binaries};

pub(super) const NAME: &str = "experiments";
pub(super) const MEASURES: &str = "Figures that miss their goals, of what ships and without the part that each miss is attributed to: removed by \
    a patch of tests/bench/without/experiments, or by a setting. Each side runs twice, alternately, and its worse run counts.";
pub(super) const BESIDE: &str =
    "the claimed limit: the goal, to a tenth of which the figure comes without the part.";

const PREFIX: &str = "bench-experiments";
const CONNECTIONS: usize = 16;
const LINES: usize = 3;
const ORDERS: u64 = 2_000;
const ROUNDS: usize = 2;
/// So near to the limit without the part.
const NEAR: f64 = 1.1;

pub(super) async fn run(setting: &Setting) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    for missed in Missed::ALL {
        let of_it = EXPERIMENTS.iter().filter(|experiment| experiment.missed == missed);
        let experiments: Vec<&Experiment> = of_it.collect();
        if experiments.is_empty() {
            continue;
        }
        let bench = Bench::prepare(setting, missed).await?;
        for experiment in experiments {
            match bench.deployment_without(experiment) {
                Ok(without) => measured.figures.extend(bench.sides(experiment.name, &without).await?),
                Err(error) => {
                    output::diagnostic(&format!(
                        "{NAME}: not measured without {}: {error:#}",
                        experiment.name
                    ));
                    measured.notes.push(format!("Not measured: without {}.", experiment.name));
                }
            }
        }
    }
    Ok(measured)
}

/// The servers on which one goal is missed, and the limit.
struct Bench<'a> {
    setting: &'a Setting,
    servers: Servers,
    missed: Missed,
    unit: &'static str,
    limit: f64,
}

impl<'a> Bench<'a> {
    async fn prepare(setting: &'a Setting, missed: Missed) -> anyhow::Result<Self> {
        let servers = Servers::start(&setting.kafka, &setting.binaries).await?;
        let (limit, unit) = match missed {
            Missed::AcceptCpu => {
                servers.create_databases([tidings::services::ServiceName::Order]).await?;
                (0.12, "ms")
            }
            Missed::Idle => (2.0 * idle::floor(&servers, idle::counts(setting).1).await?.sums.p50_ms(), "ms"),
            Missed::KafkaCpu => (1.5, "ms"),
            Missed::Ready => {
                System::start(&servers, PREFIX).await?.stop().await?;
                (200.0, "ms")
            }
        };
        Ok(Self { setting, servers, missed, unit, limit })
    }

    fn deployment(&self) -> Deployment {
        let deployment = Deployment::new(PREFIX);
        match self.missed {
            Missed::Idle | Missed::KafkaCpu => deployment.traces(100),
            Missed::AcceptCpu | Missed::Ready => deployment,
        }
    }

    fn deployment_without(&self, experiment: &Experiment) -> anyhow::Result<Deployment> {
        let mut deployment = if experiment.traces { self.deployment() } else { Deployment::new(PREFIX) };
        if experiment.has_patch {
            deployment =
                deployment.binaries(binaries(&format!("{}/{}", without::EXPERIMENTS, experiment.name))?);
        }
        for (setting, value) in experiment.settings {
            deployment = deployment.set(setting, value);
        }
        Ok(deployment)
    }

    /// What ships and what lacks the part, alternately, beside the limit.
    async fn sides(&self, name: &str, without: &Deployment) -> anyhow::Result<[Figure; 2]> {
        let with = self.deployment();
        let (mut ships, mut lacks) = (0.0, 0.0);
        for round in 1..=ROUNDS {
            let (a, b) = (self.once(&with).await?, self.once(without).await?);
            output::diagnostic(&format!(
                "{name}, round {round}: {a:.3} {unit}, without it {b:.3} {unit}, limit {:.3} {unit}",
                self.limit,
                unit = self.unit
            ));
            (ships, lacks) = (f64::max(ships, a), f64::max(lacks, b));
        }
        let what = self.missed.what();
        Ok([
            Figure::new(what, self.unit, ships).beside("claimed limit", self.limit),
            Figure::new(format!("{what}, without {name}"), self.unit, lacks)
                .beside("claimed limit", self.limit)
                .goal(Goal::RatioAtMost(NEAR)),
        ])
    }

    async fn once(&self, deployment: &Deployment) -> anyhow::Result<f64> {
        let (setting, servers) = (self.setting, &self.servers);
        match self.missed {
            Missed::AcceptCpu => {
                let placing = Placing { connections: CONNECTIONS, rate: None, lines: LINES };
                Ok(accept(setting, servers, deployment, placing).await?.cost.cpu_us / 1_000.0)
            }
            Missed::Idle => {
                let count = idle::counts(setting).0;
                Ok(idle::placed_to_confirmed(servers, deployment, count).await?.p50_ms())
            }
            Missed::KafkaCpu => {
                let orders = whole::anew(setting, setting.scaled(ORDERS))?;
                Ok(whole::once(servers, deployment, &orders).await?.cpu_ms_of("Kafka"))
            }
            Missed::Ready => Ok(rest::ready(servers, deployment).await?.ms(1_000)),
        }
    }
}
