//! When to take nothing: after some calls in succession that were not served, but for one item per cool-down, and a few
//! items of others than those whose calls were not.

use std::collections::HashSet;
use std::time::Duration;

use backoff::Backoff;
use tokio::time::Instant;

use super::Contact;
use super::room::Holder;

/// After so many calls in succession without an answer nothing more is taken.
const UNANSWERED: u32 = 5;

/// When a pause begins, so many items of others may be taken; one more after each probe. If these have no answer either,
/// it is everybody's.
const OTHERS: usize = 5;

/// The longest cool-down.
const LONGEST: Duration = Duration::from_secs(300);

/// Counts the calls without an answer. The clock is its caller's.
#[derive(Debug)]
pub(super) struct Pause {
    unanswered: u32,
    /// The first cool-down.
    first: Duration,
    /// Probes of this pause that were not answered.
    probes: u32,
    /// During a pause: when one item may be taken as a probe.
    probe_at: Option<Instant>,
    is_probing: bool,
    /// Whose calls had no answer. It may be they that have none, and not everybody.
    concerned: HashSet<Holder>,
    /// During a pause: how many items of others may still be taken, to tell which it is.
    others: usize,
}

/// What may be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// So many items.
    Any(usize),
    /// So many items of others than those whose calls had no answer.
    OfOthers(usize),
}

impl Pause {
    pub(super) fn new(first: Duration) -> Self {
        let concerned = HashSet::new();
        Self { unanswered: 0, first, probes: 0, probe_at: None, is_probing: false, concerned, others: 0 }
    }

    /// How many of `free` items may be taken now, while so many are under way. A probe is alone: what was under way when the
    /// pause began says nothing new.
    pub(super) fn allows(&self, free: usize, under_way: usize, now: Instant) -> Allowed {
        match self.probe_at {
            None => Allowed::Any(free),
            Some(at) if under_way == 0 && now >= at => Allowed::Any(free.min(1)),
            Some(_) if self.concerned.is_empty() => Allowed::Any(0),
            Some(_) => Allowed::OfOthers(free.min(self.others)),
        }
    }

    /// Items were taken, as allowed.
    pub(super) const fn took(&mut self, allowed: Allowed, items: usize) {
        match allowed {
            Allowed::Any(_) => self.is_probing = self.is_probing || self.probe_at.is_some() && items > 0,
            Allowed::OfOthers(_) => self.others = self.others.saturating_sub(items),
        }
    }

    /// A call of these has ended.
    pub(super) fn record(&mut self, contact: Contact, holders: &[Holder], now: Instant) {
        match contact {
            Contact::Answered => *self = Self::new(self.first),
            // The next item may be the probe.
            Contact::NotAsked => self.is_probing = false,
            Contact::NoAnswer => {
                self.unanswered = self.unanswered.saturating_add(1);
                self.concerned.extend(holders.iter().filter(|holder| holder.kind != Holder::RETRY).cloned());
                if self.probe_at.is_none() && self.unanswered >= UNANSWERED {
                    self.probe_at = Some(now + self.cool_down());
                    self.others = OTHERS;
                } else if self.is_probing {
                    self.is_probing = false;
                    self.probes = self.probes.saturating_add(1);
                    self.probe_at = Some(now + self.cool_down());
                    self.others = self.others.max(1);
                }
            }
        }
    }

    /// Those whose calls had no answer.
    pub(super) const fn concerned(&self) -> &HashSet<Holder> {
        &self.concerned
    }

    /// Whether nothing has been answered since a call that had no answer.
    pub(super) const fn is_unanswered(&self) -> bool {
        self.unanswered > 0
    }

    /// How long nothing is taken before the next probe.
    fn cool_down(&self) -> Duration {
        Backoff::new(self.first, LONGEST).pause(self.probes.saturating_add(1))
    }

    /// Why nothing is taken, if so.
    pub(super) fn reason(&self) -> Option<String> {
        self.probe_at.map(|_| {
            let (unanswered, cool_down) = (self.unanswered, self.cool_down());
            format!("the last {unanswered} calls were not served; tries one every {cool_down:?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);

    /// A pause, and the moment at which it began.
    fn paused() -> (Pause, Instant) {
        let (mut pause, now) = (Pause::new(FIRST), Instant::now());
        for _ in 0..UNANSWERED {
            assert_eq!(pause.allows(8, 0, now), Allowed::Any(8));
            pause.took(Allowed::Any(1), 1);
            pause.record(Contact::NoAnswer, &[], now);
        }
        (pause, now)
    }

    #[test]
    fn after_five_calls_without_an_answer_nothing_is_taken_but_a_probe() {
        let (mut pause, now) = paused();
        assert_eq!(pause.allows(8, 0, now), Allowed::Any(0));
        assert_eq!(pause.allows(8, 0, now + FIRST), Allowed::Any(1));
        assert_eq!(pause.allows(8, 3, now + FIRST), Allowed::Any(0), "a probe is alone");
        pause.took(Allowed::Any(1), 1);
        assert_eq!(pause.allows(7, 1, now + FIRST), Allowed::Any(0));
    }

    #[test]
    fn an_answer_in_between_begins_the_count_anew() {
        let (mut pause, now) = (Pause::new(FIRST), Instant::now());
        for _ in 0..3 {
            for _ in 1..UNANSWERED {
                pause.record(Contact::NoAnswer, &[], now);
            }
            pause.record(Contact::Answered, &[], now);
        }
        assert_eq!((pause.allows(8, 0, now), pause.reason()), (Allowed::Any(8), None));
    }

    #[test]
    fn probes_without_an_answer_double_the_cool_down_up_to_its_bound() {
        let (mut pause, mut now) = paused();
        let mut cool_down = FIRST;
        for _ in 0..8 {
            assert_eq!(pause.allows(8, 0, now + cool_down - Duration::from_millis(1)), Allowed::Any(0));
            now += cool_down;
            assert_eq!(pause.allows(8, 0, now), Allowed::Any(1));
            pause.took(Allowed::Any(1), 1);
            // The worker looks again while the probe is under way.
            assert_eq!(pause.allows(7, 1, now), Allowed::Any(0));
            pause.took(Allowed::Any(0), 0);
            pause.record(Contact::NoAnswer, &[], now);
            cool_down = (cool_down * 2).min(LONGEST);
        }
        assert_eq!(cool_down, LONGEST);
    }

    #[test]
    fn what_was_under_way_when_the_pause_began_does_not_double_it() {
        let (mut pause, now) = paused();
        for _ in 0..11 {
            pause.record(Contact::NoAnswer, &[], now);
        }
        assert_eq!(pause.allows(8, 0, now + FIRST), Allowed::Any(1));
    }

    #[test]
    fn an_item_without_a_call_says_nothing_and_leaves_its_place_to_the_next_probe() {
        let (mut pause, now) = paused();
        pause.took(Allowed::Any(1), 1);
        pause.record(Contact::NotAsked, &[], now + FIRST);
        assert!(pause.reason().is_some());
        assert_eq!(pause.allows(8, 0, now + FIRST), Allowed::Any(1));
        pause.took(Allowed::Any(1), 1);
        pause.record(Contact::NoAnswer, &[], now + FIRST);
        assert_eq!(pause.allows(8, 0, now + FIRST * 2), Allowed::Any(0), "the cool-down doubles");
    }

    #[test]
    fn an_answer_ends_the_pause_and_the_next_one_is_as_short_as_the_first() {
        let (mut pause, now) = paused();
        pause.took(Allowed::Any(1), 1);
        pause.record(Contact::NoAnswer, &[], now + FIRST);
        pause.took(Allowed::Any(1), 1);
        pause.record(Contact::Answered, &[], now + FIRST * 3);
        assert_eq!(pause.allows(8, 0, now + FIRST * 3), Allowed::Any(8));
        for _ in 0..UNANSWERED {
            pause.record(Contact::NoAnswer, &[], now);
        }
        assert_eq!(pause.allows(8, 0, now + FIRST), Allowed::Any(1));
    }

    #[test]
    fn some_items_of_others_are_tried_at_once_and_their_answer_ends_the_pause() {
        let (mut pause, now) = (Pause::new(FIRST), Instant::now());
        let silent = Holder { kind: "customer", name: "silent".to_owned() };
        for _ in 0..UNANSWERED {
            pause.record(Contact::NoAnswer, &[silent.clone(), Holder::retries()], now);
        }
        assert_eq!(pause.concerned(), &HashSet::from([silent]), "retries are anybody's");
        // Also while calls of those are under way.
        assert_eq!(pause.allows(8, 3, now), Allowed::OfOthers(OTHERS));
        for left in (0..OTHERS).rev() {
            pause.took(Allowed::OfOthers(1), 1);
            let other = Holder { kind: "customer", name: left.to_string() };
            pause.record(Contact::NoAnswer, &[other], now);
            assert_eq!(pause.allows(8, 3, now), Allowed::OfOthers(left));
        }
        // Nobody is answered: one more for each probe.
        assert_eq!(pause.allows(8, 0, now + FIRST), Allowed::Any(1));
        pause.took(Allowed::Any(1), 1);
        pause.record(Contact::NoAnswer, &[], now + FIRST);
        assert_eq!(pause.allows(8, 0, now + FIRST), Allowed::OfOthers(1));
        pause.record(Contact::Answered, &[], now + FIRST);
        assert_eq!(pause.allows(8, 3, now + FIRST), Allowed::Any(8));
    }
}
