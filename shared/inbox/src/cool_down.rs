//! How often a member leaves its group, and how long it stays away: longer each time, and as short as at first after a while
//! without a stall.

use std::time::Duration;

use backoff::Backoff;
use tokio::time::Instant;

use crate::times::HandOverTimes;

/// The next stay away.
#[derive(Debug)]
pub(crate) struct CoolDown {
    times: HandOverTimes,
    /// Since it was calm.
    leaves: u32,
    calm_since: Option<Instant>,
    left_at: Option<Instant>,
}

impl CoolDown {
    pub(crate) const fn new(times: HandOverTimes) -> Self {
        Self { times, leaves: 0, calm_since: None, left_at: None }
    }

    /// One look; calm is a member in its group without a stall.
    pub(crate) fn look(&mut self, calm: bool, now: Instant) {
        self.calm_since = calm.then_some(self.calm_since.unwrap_or(now));
        if self.calm_since.is_some_and(|since| now.duration_since(since) >= self.times.calm_after) {
            self.leaves = 0;
        }
    }

    /// Whether it is long enough ago that the member left.
    pub(crate) fn may_leave(&self, now: Instant) -> bool {
        self.left_at.is_none_or(|at| now.duration_since(at) >= self.times.between_leaves)
    }

    /// The member leaves, and stays away for so long.
    pub(crate) fn leave(&mut self, now: Instant) -> Duration {
        (self.calm_since, self.left_at) = (None, Some(now));
        self.leaves = self.leaves.saturating_add(1);
        Backoff::new(self.times.first_cool_down, self.times.longest_cool_down).pause(self.leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn cool_down() -> CoolDown {
        CoolDown::new(HandOverTimes::default())
    }

    #[test]
    fn each_stay_is_twice_the_last_one_up_to_its_bound() {
        let (mut cool_down, now) = (cool_down(), Instant::now());
        let stays: Vec<_> = (0..7).map(|_| cool_down.leave(now).as_secs()).collect();
        assert_eq!(stays, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_while_without_a_stall_makes_the_next_stay_as_short_as_the_first() {
        let (mut cool_down, began) = (cool_down(), Instant::now());
        cool_down.leave(began);
        for second in (0..600).step_by(5) {
            cool_down.look(true, began + seconds(second));
        }
        assert_eq!(cool_down.leave(began), seconds(20), "not a whole while yet");
        for second in (600..=1_200).step_by(5) {
            cool_down.look(true, began + seconds(second));
        }
        assert_eq!(cool_down.leave(began), seconds(10));
    }

    #[test]
    fn a_stall_in_between_begins_the_while_anew() {
        let (mut cool_down, began) = (cool_down(), Instant::now());
        cool_down.leave(began);
        for second in (0..1_000).step_by(5) {
            cool_down.look(second != 500, began + seconds(second));
        }
        assert_eq!(cool_down.leave(began), seconds(20));
    }

    #[test]
    fn a_member_leaves_at_most_once_in_five_minutes() {
        let (mut cool_down, began) = (cool_down(), Instant::now());
        assert!(cool_down.may_leave(began));
        cool_down.leave(began);
        assert!(!cool_down.may_leave(began + seconds(299)));
        assert!(cool_down.may_leave(began + seconds(300)));
    }
}
