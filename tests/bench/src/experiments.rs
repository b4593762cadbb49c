//! Experiments about missed goals: the part that a miss is attributed to, and how it is taken away.

/// The figure that misses its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// CPU time of order for an order that it accepts alone, on 16 connections.
    AcceptCpu,
    /// From placed to confirmed with nothing else to do.
    Idle,
    /// CPU time of Kafka for an order through the five services at full speed.
    KafkaCpu,
    /// From the start of a process to ready, of the slowest service.
    Ready,
}

/// A part that a miss is attributed to. Without it the figure is to come within a tenth of the limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Experiment {
    pub(crate) name: &'static str,
    pub(crate) missed: Missed,
    /// Whether a patch of tests/bench/without/experiments takes the part away; settings do otherwise.
    pub(crate) has_patch: bool,
    /// Other values of settings.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    /// Whether spans are recorded, where the figure is measured with them.
    pub(crate) traces: bool,
}

/// All of them.
pub(crate) const EXPERIMENTS: [Experiment; 4] = [
    Experiment::patch("relay", Missed::AcceptCpu),
    Experiment { traces: false, ..Experiment::settings("tracing", Missed::Idle, &[]) },
    Experiment::settings("linger", Missed::Idle, &[("kafka.properties.linger_ms", "0")]),
    Experiment::settings("batches", Missed::KafkaCpu, &[("kafka.properties.linger_ms", "50")]),
];

impl Missed {
    /// In the order in which they are measured.
    pub(crate) const ALL: [Self; 4] = [Self::AcceptCpu, Self::Idle, Self::KafkaCpu, Self::Ready];

    /// The figure's name.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::AcceptCpu => "CPU of order for an order, 16 connections",
            Self::Idle => "placed to confirmed, p50",
            Self::KafkaCpu => "CPU of Kafka for an order",
            Self::Ready => "start to ready, slowest",
        }
    }
}

impl Experiment {
    const fn patch(name: &'static str, missed: Missed) -> Self {
        Self { name, missed, has_patch: true, settings: &[], traces: true }
    }

    const fn settings(
        name: &'static str,
        missed: Missed,
        settings: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { name, missed, has_patch: false, settings, traces: true }
    }
}
