//! The times of handing over a membership (docs/adr/0024).

use std::time::Duration;

/// How often a member looks, how long it waits for answers, and how long it stays away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOverTimes {
    /// How often a member looks at its partitions, and reports which ones it reaches.
    pub look_every: Duration,
    /// How soon a fresh connection to the database has to answer.
    pub check_timeout: Duration,
    /// Between two readings of the group's committed offsets.
    pub between_readings: Duration,
    /// The largest age of another member's report that counts.
    pub fresh_for: Duration,
    /// The longest random wait before the second check, so that members do not decide in the same moment.
    pub longest_wait: Duration,
    /// The shortest time from one leave to the next.
    pub between_leaves: Duration,
    /// How long the own check has to pass before the member joins again, the first time; doubled with each leave.
    pub first_cool_down: Duration,
    /// The longest that becomes.
    pub longest_cool_down: Duration,
    /// So long in the group without a stall, and the next cool-down is the first again.
    pub calm_after: Duration,
}

impl Default for HandOverTimes {
    fn default() -> Self {
        Self {
            look_every: Duration::from_secs(5),
            check_timeout: Duration::from_secs(5),
            between_readings: Duration::from_secs(10),
            fresh_for: Duration::from_secs(15),
            longest_wait: Duration::from_secs(15),
            between_leaves: Duration::from_secs(5 * 60),
            first_cool_down: Duration::from_secs(10),
            longest_cool_down: Duration::from_secs(5 * 60),
            calm_after: Duration::from_secs(10 * 60),
        }
    }
}
