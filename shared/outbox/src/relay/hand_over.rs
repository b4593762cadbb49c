//! When a leader gives its lock up to a relay that can use it, and when it may try for it again (docs/adr/0024).
//!
//! ```text
//! stalled ─► its leader does not answer us ─► recent report of a relay that reaches it ─► lock released
//!                                  may lead ◄─ cool-down over, and no other relay reaches more ◄─┘
//! ```
//!
//! Invariant: without a report of a relay that can publish, the lead is kept, so no relay gives up while all are cut off.
//! "More" is by inclusion: of A = {0}, B = {0, 1} only A keeps off; of A = {0, 1}, B = {1, 2} neither does, or both would wait.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use messaging::TopicPartition;
use tokio::time::Instant;

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

/// The partitions that a relay reaches, and those that the others report, when it last probed.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) asked_at: Instant,
    /// The partitions whose leaders do not answer. None when not even the metadata is answered: then it reaches none.
    pub(crate) unreached: Option<BTreeSet<TopicPartition>>,
    /// The same of each other relay that leads or may lead, by a recent report.
    pub(crate) others: Vec<BTreeSet<TopicPartition>>,
}

/// What waits for an acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Messages of this partition.
    Partition(TopicPartition),
    /// Messages of a topic whose partitions are not known yet.
    Topic(String),
}

impl View {
    fn reaches(&self, due: &Due) -> bool {
        match (due, &self.unreached) {
            (Due::Partition(partition), Some(unreached)) => !unreached.contains(partition),
            (Due::Topic(_), Some(_)) => true,
            (_, None) => false,
        }
    }

    /// Whether the other one reaches everything that this one reaches.
    fn reaches_no_less(&self, other: &BTreeSet<TopicPartition>) -> bool {
        self.unreached.as_ref().is_none_or(|unreached| other.is_subset(unreached))
    }

    /// What is stalled here, is not reached from here, and is reached by a relay that reaches all the rest, too.
    fn served_by_another(&self, stalled: &BTreeSet<Due>) -> BTreeSet<Due> {
        let others = self.others.iter().filter(|other| self.reaches_no_less(other));
        let served = others.flat_map(|other| stalled.iter().filter(|due| reaches(other, due)));
        served.filter(|due| !self.reaches(due)).cloned().collect()
    }

    /// Whether another one reaches all that this one reaches, and more.
    fn is_surpassed(&self) -> bool {
        let differs = |other: &BTreeSet<TopicPartition>| self.unreached.as_ref() != Some(other);
        self.others.iter().any(|other| self.reaches_no_less(other) && differs(other))
    }
}

/// Whether a relay with these unreached partitions reaches it.
fn reaches(unreached: &BTreeSet<TopicPartition>, due: &Due) -> bool {
    match due {
        Due::Partition(partition) => !unreached.contains(partition),
        Due::Topic(topic) => unreached.iter().all(|partition| partition.topic != *topic),
    }
}

/// Why a relay does not try for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepsOff {
    /// Another one can do more.
    Surpassed,
    /// It gave up the lead.
    CoolingDown,
}

impl fmt::Display for KeepsOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Surpassed => {
                "does not try to lead: another relay reaches partitions that this one does not"
            }
            Self::CoolingDown => {
                "does not try to lead for a while: it gave the lead up to a relay that reaches more"
            }
        })
    }
}

/// When a relay gives the lead up, and until when it keeps off: decided here alone.
#[derive(Debug)]
pub(crate) struct HandOver {
    times: HandOverTimes,
    /// It gave the lead up and has not led since.
    given_up: Option<GivenUp>,
    given_up_at: Option<Instant>,
    next_cool_down: Duration,
    /// Since when it has led without a stall.
    calm_since: Option<Instant>,
}

#[derive(Debug)]
struct GivenUp {
    until: Instant,
    due: BTreeSet<Due>,
}

impl HandOver {
    pub(crate) const fn new(times: HandOverTimes) -> Self {
        let next_cool_down = times.cool_down;
        Self { times, given_up: None, given_up_at: None, next_cool_down, calm_since: None }
    }

    pub(crate) const fn times(&self) -> &HandOverTimes {
        &self.times
    }

    pub(crate) fn leads(&mut self, now: Instant) {
        (self.given_up, self.calm_since) = (None, Some(now));
    }

    /// The leader has looked for stalled partitions.
    pub(crate) fn looked(&mut self, now: Instant, any_is_stalled: bool) {
        let calm_since = *self.calm_since.get_or_insert(now);
        if any_is_stalled {
            self.calm_since = Some(now);
        } else if now >= calm_since + self.times.calm_after {
            self.next_cool_down = self.times.cool_down;
        }
    }

    /// Whether the leader gives up: these were stalled when it asked what it reaches.
    pub(crate) fn gives_up(&mut self, now: Instant, stalled: &BTreeSet<Due>, view: &View) -> bool {
        if self.given_up_at.is_some_and(|at| now < at + self.times.give_up_interval) {
            return false;
        }
        let due = view.served_by_another(stalled);
        if due.is_empty() {
            return false;
        }
        self.given_up = Some(GivenUp { until: now + self.next_cool_down, due });
        self.given_up_at = Some(now);
        self.next_cool_down = (self.next_cool_down * 2).min(self.times.cool_down_max);
        true
    }

    /// Whether it leaves the lock to others, and why. Who knows nothing tries.
    pub(crate) fn keeps_off(&self, now: Instant, view: Option<&View>) -> Option<KeepsOff> {
        if view.is_some_and(View::is_surpassed) {
            return Some(KeepsOff::Surpassed);
        }
        let given_up = self.given_up.as_ref().filter(|given_up| now < given_up.until)?;
        let nobody_else = view
            .is_some_and(|view| view.others.is_empty() && given_up.due.iter().all(|due| view.reaches(due)));
        (!nobody_else).then_some(KeepsOff::CoolingDown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partition: i32) -> TopicPartition {
        TopicPartition { topic: "orders".to_owned(), partition }
    }

    fn set(partitions: &[i32]) -> BTreeSet<TopicPartition> {
        partitions.iter().copied().map(partition).collect()
    }

    fn due(partitions: &[i32]) -> BTreeSet<Due> {
        partitions.iter().copied().map(partition).map(Due::Partition).collect()
    }

    fn view(unreached: Option<&[i32]>, others: &[&[i32]]) -> View {
        View {
            asked_at: Instant::now(),
            unreached: unreached.map(set),
            others: others.iter().map(|other| set(other)).collect(),
        }
    }

    fn new() -> HandOver {
        HandOver::new(HandOverTimes::default())
    }

    fn gives_up(stalled: &[i32], view: &View) -> bool {
        new().gives_up(Instant::now(), &due(stalled), view)
    }

    #[test]
    fn it_gives_up_to_who_reaches_a_stalled_partition_and_all_that_it_reaches_itself() {
        assert!(gives_up(&[0], &view(Some(&[0]), &[&[]])));
        assert!(gives_up(&[0], &view(None, &[&[]])));
        assert!(gives_up(&[0], &view(Some(&[0, 1]), &[&[0], &[1]])));
        // One has no leader for anybody.
        assert!(gives_up(&[0, 1], &view(Some(&[0, 1]), &[&[1]])));
        assert!(gives_up(&[0], &view(None, &[&[1, 2]])));
    }

    #[test]
    fn it_keeps_the_lead_without_evidence() {
        assert!(!gives_up(&[0], &view(Some(&[0]), &[])));
        assert!(!gives_up(&[0], &view(None, &[])));
        // No relay reaches it.
        assert!(!gives_up(&[0], &view(Some(&[0]), &[&[0]])));
        assert!(!gives_up(&[0], &view(None, &[&[0, 1]])));
        // The other one does not reach what this one reaches.
        assert!(!gives_up(&[0], &view(Some(&[0]), &[&[1]])));
        assert!(!gives_up(&[0], &view(Some(&[0, 1]), &[&[2]])));
        // It does not wait for what it does not reach.
        assert!(!gives_up(&[], &view(Some(&[0]), &[&[]])));
        // The leader answers, and does not acknowledge: another relay could do no more.
        assert!(!gives_up(&[0], &view(Some(&[]), &[&[]])));
        assert!(!gives_up(&[0], &view(Some(&[1]), &[&[]])));
    }

    #[test]
    fn a_topic_of_unknown_partitions_is_given_up_to_who_reaches_all_of_it() {
        let stalled = BTreeSet::from([Due::Topic("orders".to_owned())]);
        let gives_up = |view: &View| new().gives_up(Instant::now(), &stalled, view);
        assert!(gives_up(&view(None, &[&[]])));
        assert!(!gives_up(&view(None, &[&[3]])));
        assert!(!gives_up(&view(None, &[])));
        // Its partitions are known by now.
        assert!(!gives_up(&view(Some(&[1]), &[&[]])));
    }

    #[test]
    fn it_gives_up_once_in_five_minutes() {
        let (mut hand_over, now, cut) = (new(), Instant::now(), view(None, &[&[]]));
        let interval = hand_over.times.give_up_interval;
        assert!(hand_over.gives_up(now, &due(&[0]), &cut));
        assert!(!hand_over.gives_up(now + interval - Duration::from_millis(1), &due(&[0]), &cut));
        assert!(hand_over.gives_up(now + interval, &due(&[0]), &cut));
    }

    #[test]
    fn the_cool_down_doubles_and_is_short_again_after_a_calm_lead() {
        let (mut hand_over, mut now, cut) = (new(), Instant::now(), view(None, &[&[]]));
        let equal = view(Some(&[]), &[&[]]);
        let times = hand_over.times;
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            now += times.give_up_interval;
            hand_over.leads(now);
            hand_over.looked(now, true);
            assert!(hand_over.gives_up(now, &due(&[0]), &cut));
            let until = now + Duration::from_secs(seconds);
            let before = until - Duration::from_millis(1);
            assert_eq!(hand_over.keeps_off(before, Some(&equal)), Some(KeepsOff::CoolingDown), "{seconds}");
            assert_eq!(hand_over.keeps_off(until, Some(&equal)), None, "{seconds}");
        }
        hand_over.leads(now);
        hand_over.looked(now + times.calm_after - Duration::from_secs(1), true);
        hand_over.looked(now + times.calm_after, false);
        assert_eq!(hand_over.next_cool_down, times.cool_down_max);
        hand_over.looked(now + times.calm_after * 2, false);
        assert_eq!(hand_over.next_cool_down, times.cool_down);
    }

    #[test]
    fn it_keeps_off_while_another_reaches_all_that_it_reaches_and_more() {
        let keeps_off = |view: &View| new().keeps_off(Instant::now(), Some(view));
        assert_eq!(keeps_off(&view(Some(&[0]), &[&[]])), Some(KeepsOff::Surpassed));
        assert_eq!(keeps_off(&view(None, &[&[0, 1, 2]])), Some(KeepsOff::Surpassed));
        assert_eq!(keeps_off(&view(Some(&[0, 1]), &[&[2], &[0]])), Some(KeepsOff::Surpassed));
        // Else two would wait for each other.
        assert_eq!(keeps_off(&view(Some(&[0]), &[&[0]])), None);
        assert_eq!(keeps_off(&view(Some(&[0]), &[&[1]])), None);
        assert_eq!(keeps_off(&view(Some(&[]), &[&[], &[1]])), None);
        assert_eq!(keeps_off(&view(None, &[])), None);
        assert_eq!(new().keeps_off(Instant::now(), None), None);
    }

    #[test]
    fn who_gave_up_tries_at_once_when_nobody_else_is_there_and_its_way_is_open() {
        let (mut hand_over, now) = (new(), Instant::now());
        assert!(hand_over.gives_up(now, &due(&[0]), &view(Some(&[0, 1]), &[&[1]])));
        assert_eq!(hand_over.keeps_off(now, Some(&view(Some(&[0, 1]), &[]))), Some(KeepsOff::CoolingDown));
        assert_eq!(hand_over.keeps_off(now, Some(&view(None, &[]))), Some(KeepsOff::CoolingDown));
        assert_eq!(hand_over.keeps_off(now, None), Some(KeepsOff::CoolingDown));
        assert_eq!(hand_over.keeps_off(now, Some(&view(Some(&[1]), &[&[1]]))), Some(KeepsOff::CoolingDown));
        assert_eq!(hand_over.keeps_off(now, Some(&view(Some(&[1]), &[]))), None);
        hand_over.leads(now);
        assert_eq!(hand_over.keeps_off(now, Some(&view(None, &[]))), None);
    }
}
