//! Whether refusals are about records or about the topic: decided here alone.
//!
//! A record that is refused alone blocks its key. When several keys in succession are, for one reason and with nothing
//! acknowledged in between, the reason may be the topic's: no further key is blocked, and one record at a time is tried
//! until the topic takes one.

use std::time::Duration;

use messaging::Refusal;
use tokio::time::Instant;

use crate::relay::backoff::Backoff;

/// So many keys are blocked in succession before the topic is suspected.
const KEYS: u32 = 3;
/// Number of further refusals after which the topic counts as refusing everything.
const RECORDS: u32 = 5;
/// The longest wait between two of them.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A row that was never refused waits no longer than this.
const NEW_ROW: Duration = Duration::from_secs(1);
/// The longest wait for the answer about one record: its partition may take nothing.
const PROBE: Duration = Duration::from_secs(5);

/// What follows from the refusals of a topic.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The topic takes records. So many keys were blocked since the last acknowledgement, all for one reason.
    Takes { blocked: u32, refusal: Option<Refusal> },
    /// It has refused whatever it was sent since.
    Blocked(BlockedTopic),
}

#[derive(Debug)]
pub(super) struct BlockedTopic {
    refusal: Refusal,
    refused: u32,
    pause: Backoff,
    /// The next record is sent then; while one is with the broker, when it is given up.
    until: Instant,
    is_probing: bool,
}

/// What the publisher does about a refusal of a record that was sent alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// The record is at fault.
    BlockKey,
    /// The topic may be.
    KeepRow,
    /// The same, and now an alarm is due.
    KeepRowAndAlarm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// Whatever is ready.
    All,
    /// One record, alone.
    One,
    Nothing,
}

impl Verdict {
    pub(super) const fn new() -> Self {
        Self::Takes { blocked: 0, refusal: None }
    }

    pub(super) fn sending(&mut self, now: Instant) -> Sending {
        match self {
            Self::Takes { .. } => Sending::All,
            Self::Blocked(blocked) if now < blocked.until => Sending::Nothing,
            Self::Blocked(blocked) => {
                blocked.is_probing = false;
                Sending::One
            }
        }
    }

    /// A record was sent alone, to see whether the topic takes it.
    pub(super) fn probing(&mut self, now: Instant) {
        if let Self::Blocked(blocked) = self {
            (blocked.until, blocked.is_probing) = (now + PROBE, true);
        }
    }

    /// When it is time for the next record, if no answer comes before.
    pub(super) const fn due_at(&self) -> Option<Instant> {
        match self {
            Self::Takes { .. } => None,
            Self::Blocked(blocked) => Some(blocked.until),
        }
    }

    /// Something new is there to try.
    pub(super) fn new_rows(&mut self, now: Instant) {
        if let Self::Blocked(blocked) = self
            && !blocked.is_probing
        {
            blocked.until = blocked.until.min(now + NEW_ROW);
        }
    }

    /// A record was acknowledged. Returns whether an alarm was raised before.
    pub(super) fn acknowledged(&mut self) -> bool {
        let alarmed = match self {
            Self::Takes { .. } => false,
            Self::Blocked(blocked) => blocked.refused >= RECORDS,
        };
        *self = Self::new();
        alarmed
    }

    /// There was no answer about the record, or none that decides anything.
    pub(super) fn unanswered(&mut self, now: Instant) {
        if let Self::Blocked(blocked) = self {
            blocked.wait(now);
        }
    }

    /// A record that was sent alone was refused. `is_retry`: its key was blocked before, which is no new evidence.
    pub(super) fn refused(&mut self, refusal: Refusal, is_retry: bool, now: Instant) -> Consequence {
        if !refusal.may_pass() {
            self.unanswered(now);
            return Consequence::BlockKey;
        }
        match self {
            Self::Takes { .. } if is_retry => Consequence::BlockKey,
            Self::Takes { blocked, refusal: reason } => {
                *blocked = if *reason == Some(refusal) { *blocked + 1 } else { 1 };
                *reason = Some(refusal);
                if *blocked <= KEYS {
                    return Consequence::BlockKey;
                }
                let pause = Backoff::new(PAUSE_MAX);
                let mut blocked = BlockedTopic { refusal, refused: 0, pause, until: now, is_probing: false };
                blocked.wait(now);
                *self = Self::Blocked(blocked);
                Consequence::KeepRow
            }
            Self::Blocked(blocked) => {
                blocked.wait(now);
                if blocked.refusal != refusal || is_retry {
                    return Consequence::BlockKey;
                }
                blocked.refused = blocked.refused.saturating_add(1);
                if blocked.refused == RECORDS { Consequence::KeepRowAndAlarm } else { Consequence::KeepRow }
            }
        }
    }
}

impl BlockedTopic {
    fn wait(&mut self, now: Instant) {
        (self.until, self.is_probing) = (now + self.pause.next(), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(verdict: &mut Verdict, times: usize) -> Vec<Consequence> {
        (0..times).map(|_| verdict.refused(Refusal::Timestamp, false, Instant::now())).collect()
    }

    #[test]
    fn a_few_keys_are_blocked_and_then_the_topic_is_left_alone_with_one_alarm() {
        use Consequence::{BlockKey, KeepRow, KeepRowAndAlarm};
        let mut verdict = Verdict::new();
        assert_eq!(refused(&mut verdict, 4), [BlockKey, BlockKey, BlockKey, KeepRow]);
        assert_eq!(verdict.sending(Instant::now()), Sending::Nothing);
        assert_eq!(verdict.sending(verdict.due_at().unwrap()), Sending::One);
        assert_eq!(refused(&mut verdict, 6), [KeepRow, KeepRow, KeepRow, KeepRow, KeepRowAndAlarm, KeepRow]);
        assert!(verdict.acknowledged());
        assert_eq!(verdict.sending(Instant::now()), Sending::All);
        assert_eq!(refused(&mut verdict, 1), [BlockKey]);
    }

    #[test]
    fn an_acknowledgement_or_another_reason_in_between_is_no_succession() {
        let mut verdict = Verdict::new();
        for _ in 0..5 {
            assert_eq!(refused(&mut verdict, 3), [Consequence::BlockKey; 3]);
            assert!(!verdict.acknowledged());
        }
        for refusal in [Refusal::Size, Refusal::Policy].into_iter().cycle().take(10) {
            let consequence = verdict.refused(refusal, false, Instant::now());
            assert_eq!(consequence, Consequence::BlockKey);
        }
    }

    #[test]
    fn keys_that_were_blocked_before_and_what_can_never_pass_say_nothing_of_the_topic() {
        let mut verdict = Verdict::new();
        for _ in 0..10 {
            assert_eq!(verdict.refused(Refusal::Size, true, Instant::now()), Consequence::BlockKey);
            assert_eq!(verdict.refused(Refusal::TopicName, false, Instant::now()), Consequence::BlockKey);
        }
        assert_eq!(verdict.sending(Instant::now()), Sending::All);
    }

    #[test]
    fn a_record_without_an_answer_is_given_up_and_another_is_tried() {
        let mut verdict = Verdict::new();
        refused(&mut verdict, 4);
        let now = verdict.due_at().unwrap();
        assert_eq!(verdict.sending(now), Sending::One);
        verdict.probing(now);
        // Nor does a new row end the wait.
        verdict.new_rows(now);
        assert_eq!(verdict.due_at(), Some(now + PROBE));
        assert_eq!(verdict.sending(now + PROBE - Duration::from_millis(1)), Sending::Nothing);
        assert_eq!(verdict.sending(now + PROBE), Sending::One);
    }

    #[test]
    fn a_new_row_need_not_wait_for_the_whole_pause() {
        let mut verdict = Verdict::new();
        refused(&mut verdict, 30);
        let now = Instant::now();
        assert!(verdict.due_at().unwrap() > now + 2 * NEW_ROW);
        verdict.new_rows(now);
        assert!(verdict.due_at().unwrap() <= now + NEW_ROW);
    }
}
