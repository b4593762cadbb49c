//! How long a member that left its group stays away: longer each time, and as short as at first after a while without a stall.

use std::time::Duration;

use tokio::time::Instant;

/// The next stay away.
#[derive(Debug)]
pub(crate) struct CoolDown {
    first: Duration,
    longest: Duration,
    calm_after: Duration,
    next: Duration,
    calm_since: Option<Instant>,
}

impl CoolDown {
    pub(crate) const fn new(first: Duration, longest: Duration, calm_after: Duration) -> Self {
        Self { first, longest, calm_after, next: first, calm_since: None }
    }

    /// One look; calm is a member in its group without a stall.
    pub(crate) fn look(&mut self, calm: bool, now: Instant) {
        self.calm_since = calm.then_some(self.calm_since.unwrap_or(now));
        if self.calm_since.is_some_and(|since| now.duration_since(since) >= self.calm_after) {
            self.next = self.first;
        }
    }

    /// The member leaves, and stays away for so long.
    pub(crate) fn leave(&mut self) -> Duration {
        self.calm_since = None;
        let stay = self.next;
        self.next = (stay * 2).min(self.longest);
        stay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn cool_down() -> CoolDown {
        CoolDown::new(seconds(10), seconds(300), seconds(600))
    }

    #[test]
    fn each_stay_is_twice_the_last_one_up_to_its_bound() {
        let mut cool_down = cool_down();
        let stays: Vec<_> = (0..7).map(|_| cool_down.leave().as_secs()).collect();
        assert_eq!(stays, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_while_without_a_stall_makes_the_next_stay_as_short_as_the_first() {
        let (mut cool_down, began) = (cool_down(), Instant::now());
        cool_down.leave();
        for second in (0..600).step_by(5) {
            cool_down.look(true, began + seconds(second));
        }
        assert_eq!(cool_down.leave(), seconds(20), "not a whole while yet");
        for second in (600..=1_200).step_by(5) {
            cool_down.look(true, began + seconds(second));
        }
        assert_eq!(cool_down.leave(), seconds(10));
    }

    #[test]
    fn a_stall_in_between_begins_the_while_anew() {
        let (mut cool_down, began) = (cool_down(), Instant::now());
        cool_down.leave();
        for second in (0..1_000).step_by(5) {
            cool_down.look(second != 500, began + seconds(second));
        }
        assert_eq!(cool_down.leave(), seconds(20));
    }
}
