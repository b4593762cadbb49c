//! When a leader gives its lock up to a relay that can use it, and when it may try for it again (docs/adr/0024).

use std::time::Duration;

/// The times of a hand-over. The defaults are meant to be kept; tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOverTimes {
    /// How often a relay asks what it reaches of the broker, and writes it down.
    pub report_interval: Duration,
    /// Until what age such a report counts.
    pub report_max_age: Duration,
    /// After what age it is deleted.
    pub report_retention: Duration,
    /// After how long without an acknowledgement a partition with due messages is stalled, as far as the lead goes.
    pub stalled_after: Duration,
    /// How often the leader looks for such partitions.
    pub look_interval: Duration,
    /// How long who gave up the lead does not try for it; doubled with each time.
    pub cool_down: Duration,
    /// The longest such time.
    pub cool_down_max: Duration,
    /// After how long of leading without a stall it is the first one again.
    pub calm_after: Duration,
    /// A relay gives the lead up no more often than this.
    pub give_up_interval: Duration,
}

impl Default for HandOverTimes {
    fn default() -> Self {
        Self {
            report_interval: Duration::from_secs(5),
            report_max_age: Duration::from_secs(15),
            report_retention: Duration::from_secs(60 * 60),
            stalled_after: Duration::from_secs(30),
            look_interval: Duration::from_secs(1),
            cool_down: Duration::from_secs(10),
            cool_down_max: Duration::from_secs(5 * 60),
            calm_after: Duration::from_secs(10 * 60),
            give_up_interval: Duration::from_secs(5 * 60),
        }
    }
}
