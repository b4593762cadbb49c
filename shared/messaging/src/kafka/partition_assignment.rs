//! The assignment of one partition: its buffer, and what its reader requests from the polling thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::poll_waker::PollWaker;
use crate::bus::{Batch, Delivered, TopicPartition};

/// The assignment of a partition to this member. A partition that is assigned again gets a new one, so that a handle of an
/// earlier assignment can't disturb it.
pub(crate) struct PartitionAssignment {
    pub(crate) id: TopicPartition,
    state: Mutex<AssignmentState>,
    /// Wakes the reader; keeps one permit, so that no wake-up is lost.
    pub(crate) changed: Notify,
    waker: Arc<PollWaker>,
}

/// Invariant: `buffer` holds the records from `taken` up to `fetched`, of the last seek that was applied.
#[derive(Default)]
pub(crate) struct AssignmentState {
    pub(crate) ended: bool,
    /// A seek that the polling thread has not applied yet. Records that arrive meanwhile belong to the past.
    pub(crate) wanted_seek: Option<i64>,
    /// The polling thread should make this partition be fetched again.
    pub(crate) wanted_resume: bool,
    /// An offset that should be committed.
    pub(crate) wanted_commit: Option<i64>,
    /// Behind the last record in the buffer, and behind the markers that follow it; `None` before the first seek.
    pub(crate) fetched: Option<i64>,
    /// A position of before the last seek.
    outdated: Option<i64>,
    /// The reader's position.
    pub(crate) taken: i64,
    pub(crate) buffer: VecDeque<Delivered>,
    pub(crate) buffer_bytes: usize,
    pub(crate) paused: bool,
    /// The broker may have reported a position outside its range: the reader has to compare.
    pub(crate) maybe_out_of_range: bool,
}

impl AssignmentState {
    /// The offset at which fetching should continue, if the reader requests anything. A partition whose position the broker may have
    /// reported outside its range is not fetched before its reader seeks: another log may reach beyond the position by now.
    pub(crate) fn target(&mut self) -> Option<i64> {
        let resume = std::mem::take(&mut self.wanted_resume) && !self.maybe_out_of_range;
        self.wanted_seek.or(if resume { self.fetched } else { None })
    }

    /// Restarts reading at `offset` and drops the buffer. No topic holds negative offsets, and librdkafka would read them as
    /// names of other positions: the reader reports them as outside the range.
    pub(crate) fn seek(&mut self, offset: i64) {
        self.buffer.clear();
        self.buffer_bytes = 0;
        self.taken = offset;
        self.maybe_out_of_range = offset < 0;
        self.wanted_seek = (offset >= 0).then_some(offset);
        if offset < 0 {
            self.fetched = None;
        }
    }

    /// Delivers nothing before the next seek.
    pub(crate) fn reset(&mut self) {
        self.buffer.clear();
        self.buffer_bytes = 0;
        self.maybe_out_of_range = false;
        self.fetched = None;
    }

    /// Whether a record that was polled goes into the buffer. Not before the first seek; not while a seek is wanted,
    /// because the record was fetched before it; and not twice.
    pub(crate) fn accepts(&self, offset: i64) -> bool {
        !self.ended && self.wanted_seek.is_none() && self.fetched.is_some_and(|fetched| offset >= fetched)
    }

    pub(crate) fn push(&mut self, record: Delivered) {
        self.fetched = Some(record.offset + 1);
        self.buffer_bytes += record.bytes();
        self.buffer.push_back(record);
    }

    /// librdkafka has passed everything before `position`: its records are in the buffer, and markers have none. Returns whether
    /// `fetched` advanced. It does not while a seek is wanted, nor to a position of before a seek.
    pub(crate) fn passed(&mut self, position: Option<i64>) -> bool {
        if position.is_some() && position == self.outdated {
            return false;
        }
        self.outdated = None;
        let advanced = position.filter(|position| self.accepts(*position) && self.fetched != Some(*position));
        self.fetched = advanced.or(self.fetched);
        advanced.is_some()
    }

    /// The next records that are there, within the bounds, but at least one; or, where none is left, the markers passed.
    pub(crate) fn take(&mut self, max_records: usize, max_bytes: usize) -> Option<Batch> {
        let fetched = self.fetched.filter(|fetched| *fetched > self.taken)?;
        if self.wanted_seek.is_some() {
            return None;
        }
        let (mut count, mut bytes) = (0, 0);
        for record in self.buffer.iter().take(max_records.max(1)) {
            if count > 0 && bytes + record.bytes() > max_bytes {
                break;
            }
            bytes += record.bytes();
            count += 1;
        }
        let records: Vec<_> = self.buffer.drain(..count).collect();
        let last = records.last().map(|record| record.offset + 1);
        let (from, to) = (self.taken, last.filter(|_| !self.buffer.is_empty()).unwrap_or(fetched));
        self.buffer_bytes -= bytes;
        self.taken = to;
        Some(Batch { from, to, records })
    }

    /// Fetching continues at `offset`, unless the reader has sought elsewhere meanwhile. librdkafka may still report the `outdated`
    /// position.
    pub(crate) fn arrived(&mut self, offset: i64, outdated: Option<i64>) {
        self.paused = false;
        self.outdated = outdated;
        if self.wanted_seek == Some(offset) {
            self.wanted_seek = None;
            self.fetched = Some(offset);
        }
    }
}

impl PartitionAssignment {
    pub(crate) fn new(id: TopicPartition, waker: Arc<PollWaker>) -> Self {
        let state = AssignmentState { paused: true, ..AssignmentState::default() };
        Self { id, state: Mutex::new(state), changed: Notify::new(), waker }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, AssignmentState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the polling thread for a request.
    pub(crate) fn request(&self, want: impl FnOnce(&mut AssignmentState)) {
        want(&mut self.lock());
        self.waker.request();
    }

    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.buffer = VecDeque::new();
        state.buffer_bytes = 0;
        drop(state);
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64) -> Delivered {
        Delivered { offset, key: None, value: Some(vec![0; 10]), headers: vec![], timestamp_ms: None }
    }

    /// What the polling thread does with a record that it was given.
    fn poll(state: &mut AssignmentState, offset: i64) {
        if state.accepts(offset) {
            state.push(record(offset));
        }
    }

    fn offsets(state: &mut AssignmentState) -> Option<(i64, Vec<i64>)> {
        let batch = state.take(100, 1_000)?;
        Some((batch.from, batch.records.iter().map(|record| record.offset).collect()))
    }

    #[test]
    fn a_record_polled_before_the_first_seek_is_dropped() {
        let mut state = AssignmentState::default();
        poll(&mut state, 0);
        state.seek(0);
        state.arrived(0, None);
        assert_eq!(offsets(&mut state), None);
    }

    #[test]
    fn a_record_fetched_before_a_seek_that_is_still_wanted_is_dropped() {
        let mut state = AssignmentState::default();
        state.seek(5);
        state.arrived(5, None);
        poll(&mut state, 5);
        state.seek(0);
        poll(&mut state, 6);
        state.arrived(0, None);
        assert_eq!(offsets(&mut state), None);
        poll(&mut state, 0);
        assert_eq!(offsets(&mut state), Some((0, vec![0])));
    }

    #[test]
    fn a_seek_that_was_replaced_meanwhile_does_not_arrive() {
        let mut state = AssignmentState::default();
        state.seek(5);
        state.seek(7);
        state.arrived(5, None);
        poll(&mut state, 5);
        assert_eq!((offsets(&mut state), state.target()), (None, Some(7)));
    }

    #[test]
    fn a_reset_partition_is_not_fetched_before_its_reader_seeks() {
        let mut state = AssignmentState::default();
        state.seek(5);
        state.arrived(5, None);
        (state.maybe_out_of_range, state.wanted_resume) = (true, true);
        assert_eq!(state.target(), None);
        state.reset();
        poll(&mut state, 5);
        assert!(!state.passed(Some(8)));
        state.wanted_resume = true;
        assert_eq!((offsets(&mut state), state.target()), (None, None));
        state.seek(4);
        assert_eq!(state.target(), Some(4));
        state.arrived(4, Some(8));
        poll(&mut state, 4);
        assert_eq!(offsets(&mut state), Some((4, vec![4])));
    }

    #[test]
    fn a_record_that_comes_twice_is_given_once() {
        let mut state = AssignmentState::default();
        state.seek(0);
        state.arrived(0, None);
        for offset in [0, 1, 1, 0, 2] {
            poll(&mut state, offset);
        }
        assert_eq!(offsets(&mut state), Some((0, vec![0, 1, 2])));
    }

    #[test]
    fn missing_offsets_are_passed_over_and_told() {
        let mut state = AssignmentState::default();
        state.seek(3);
        state.arrived(3, None);
        poll(&mut state, 8);
        assert_eq!(state.take(1, 1), Some(Batch { from: 3, to: 9, records: vec![record(8)] }));
        assert_eq!(state.buffer_bytes, 0);
    }

    #[test]
    fn markers_are_passed_behind_the_last_record_and_alone() {
        let mut state = AssignmentState::default();
        state.seek(0);
        state.arrived(0, None);
        poll(&mut state, 0);
        poll(&mut state, 1);
        assert!(state.passed(Some(4)) && !state.passed(Some(4)));
        assert_eq!(state.take(1, 1), Some(Batch { from: 0, to: 1, records: vec![record(0)] }));
        assert_eq!(state.take(1, 1), Some(Batch { from: 1, to: 4, records: vec![record(1)] }));
        assert_eq!(state.take(1, 1), None);
        assert!(state.passed(Some(5)));
        assert_eq!(state.take(1, 1), Some(Batch { from: 4, to: 5, records: vec![] }));
    }

    #[test]
    fn a_position_of_before_a_seek_that_is_still_wanted_passes_nothing() {
        let mut state = AssignmentState::default();
        assert!(!state.passed(Some(7)), "nothing was read yet");
        state.seek(9);
        state.arrived(9, None);
        state.seek(2);
        assert!(!state.passed(Some(10)));
        state.arrived(2, Some(10));
        assert!(!state.passed(Some(10)), "librdkafka has not stopped yet");
        assert!(!state.passed(Some(1)), "it lies behind the reader");
        assert_eq!(state.take(1, 1), None);
        poll(&mut state, 2);
        assert_eq!(offsets(&mut state), Some((2, vec![2])));
        assert!(state.passed(Some(10)), "now it has got there");
    }
}
