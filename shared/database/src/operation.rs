//! What a conversation is for, and how long it may take.

use std::time::Duration;

/// The longest that a group waits for a lock that somebody else holds.
const GROUP_LOCK: Duration = Duration::from_millis(50);

/// What a conversation is for: its bound, and the label `operation` of its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A batch of a consumer, and what belongs to it: positions, redrive.
    Batch,
    /// A step of a worker.
    Worker,
    /// What a client waits for.
    Request,
    /// What several clients wait for: a lock that one of them needs must not delay the others.
    Group,
    /// Gauges and health.
    Sample,
    /// Table partitions, and checks at the start.
    Maintenance,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Batch, Self::Worker, Self::Request, Self::Group, Self::Sample, Self::Maintenance];

    /// The metrics' label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Worker => "worker",
            Self::Request => "request",
            Self::Group => "group",
            Self::Sample => "sample",
            Self::Maintenance => "maintenance",
        }
    }

    pub(crate) const fn bound(self, bounds: Bounds) -> Duration {
        match self {
            Self::Batch | Self::Worker | Self::Maintenance => bounds.work,
            Self::Request | Self::Group | Self::Sample => bounds.request,
        }
    }

    /// The longest wait for a lock.
    pub(crate) fn lock(self, bounds: Bounds) -> Duration {
        let longest = lock(self.bound(bounds));
        if self == Self::Group { longest.min(GROUP_LOCK) } else { longest }
    }
}

/// How long a conversation may take in all, with the wait for a connection. A statement may take two thirds of it and wait for a
/// lock one third, so that a server that works ends them itself, with its own error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Batches, steps of workers, maintenance.
    pub work: Duration,
    /// Requests and gauges.
    pub request: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { work: Duration::from_secs(12), request: Duration::from_secs(6) }
    }
}

/// The longest that one statement may take.
pub(crate) const fn statement(bound: Duration) -> Duration {
    Duration::from_millis(milliseconds(bound) * 2 / 3)
}

/// The longest wait for a lock.
pub(crate) const fn lock(bound: Duration) -> Duration {
    Duration::from_millis(milliseconds(bound) / 3)
}

/// Beyond five hundred million years it is as good as none.
#[expect(clippy::cast_possible_truncation, reason = "see above")]
const fn milliseconds(bound: Duration) -> u64 {
    bound.as_millis() as u64
}
