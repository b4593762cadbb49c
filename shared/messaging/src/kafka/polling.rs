//! The one thread that talks to librdkafka for a member: it polls, applies what the readers want, fills their buffers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::assignment::{Assignment, Tenure, TenureState};
use super::consumer::GroupContext;
use crate::bus::Delivered;

/// How long a poll may wait: a seek or a resumption waits as long.
const POLL: Duration = Duration::from_millis(10);
/// Positions are committed to Kafka for lag tools only.
const COMMIT_EVERY: Duration = Duration::from_millis(250);
/// librdkafka's own thread answers a seek; it needs no network.
const SEEK: Duration = Duration::from_secs(5);

/// The bounds of each partition's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferLimits {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

impl BufferLimits {
    fn is_full(self, state: &TenureState) -> bool {
        state.buffer.len() >= self.records || state.buffer_bytes >= self.bytes
    }

    /// Resuming fetches again what librdkafka had prefetched, so it waits until half of the buffer is free.
    pub(crate) fn has_room(self, state: &TenureState) -> bool {
        state.buffer.len() <= self.records / 2 && state.buffer_bytes <= self.bytes / 2
    }
}

/// A member's connection to librdkafka.
pub(crate) struct Poller {
    client: BaseConsumer<GroupContext>,
    assignment: Arc<Assignment>,
    limits: BufferLimits,
    committed: Instant,
}

impl Poller {
    pub(crate) fn new(client: BaseConsumer<GroupContext>, limits: BufferLimits) -> Self {
        let assignment = Arc::clone(client.context().assignment());
        Self { client, assignment, limits, committed: Instant::now() }
    }

    /// Polls until told to stop, then leaves the group.
    pub(crate) fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            if self.assignment.take_work() {
                self.apply();
            }
            if self.committed.elapsed() >= COMMIT_EVERY {
                self.commit();
            }
            match self.client.poll(POLL) {
                None => {}
                Some(Ok(message)) => self.deliver(&message),
                Some(Err(error)) => {
                    if let Some(failure) = self.failure(&error) {
                        self.assignment.close(Some(failure));
                        break;
                    }
                }
            }
        }
        self.commit();
        self.assignment.close(None);
        // Dropping the client leaves the group, and polls until it has been closed.
        if let Err(error) = self.client.unassign() {
            tracing::debug!(%error, "nothing to unassign");
        }
    }

    fn deliver(&self, message: &BorrowedMessage<'_>) {
        let Some(tenure) = self.assignment.find(message.topic(), message.partition()) else { return };
        let mut state = tenure.lock();
        let Some(fetched) = state.fetched else { return };
        // What was fetched before a seek that is still wanted belongs to the past, and so does what we have already.
        if state.ended || state.wanted_seek.is_some() || message.offset() < fetched {
            return;
        }
        let record = delivered(message);
        state.fetched = Some(record.offset + 1);
        state.buffer_bytes += record.bytes();
        state.buffer.push_back(record);
        if self.limits.is_full(&state) && !state.paused {
            state.paused = true;
            if let Err(error) = self.client.pause(&list(&tenure, Offset::Invalid)) {
                state.paused = false;
                self.client.context().events().warn("pause", &error.to_string());
            }
        }
        drop(state);
        tenure.changed.notify_one();
    }

    /// Applies seeks and resumptions. A seek that fails is tried again with the next poll.
    fn apply(&self) {
        for tenure in self.assignment.all() {
            let mut state = tenure.lock();
            if state.ended {
                continue;
            }
            if let Some(offset) = state.wanted_seek {
                // The reader may ask for another position meanwhile, but not hold up the thread.
                drop(state);
                let outcome = self.seek(&tenure, offset);
                state = tenure.lock();
                match outcome {
                    Ok(()) if state.wanted_seek == Some(offset) => {
                        state.wanted_seek = None;
                        state.fetched = Some(offset);
                        state.wanted_resume = true;
                    }
                    Ok(()) => {}
                    Err(error) => {
                        self.client.context().events().warn("seek", &error.to_string());
                        apply_again(&tenure, state);
                        continue;
                    }
                }
            }
            if std::mem::take(&mut state.wanted_resume) && state.paused {
                match self.client.resume(&list(&tenure, Offset::Invalid)) {
                    Ok(()) => state.paused = false,
                    Err(error) => {
                        self.client.context().events().warn("resume", &error.to_string());
                        state.wanted_resume = true;
                        apply_again(&tenure, state);
                    }
                }
            }
        }
    }

    /// After an error of `auto.offset.reset=error` librdkafka no longer fetches the partition and refuses to seek in
    /// it: then it is assigned anew.
    fn seek(&self, tenure: &Tenure, offset: i64) -> KafkaResult<()> {
        let answer = self.client.seek_partitions(list(tenure, Offset::Offset(offset)), SEEK)?;
        if answer.elements().iter().all(|element| element.error().is_ok()) {
            return Ok(());
        }
        let anew = list(tenure, Offset::Offset(offset));
        self.client.incremental_unassign(&anew)?;
        self.client.incremental_assign(&anew)?;
        // A new assignment isn't paused; say so, so that a full buffer pauses it again.
        tenure.lock().paused = false;
        Ok(())
    }

    fn commit(&mut self) {
        self.committed = Instant::now();
        self.client.context().commit(&self.client, &self.assignment.all());
    }

    /// Whether the error ends this member. All others are waited out inside librdkafka.
    fn failure(&self, error: &KafkaError) -> Option<String> {
        let events = self.client.context().events();
        match error {
            KafkaError::MessageConsumptionFatal(_) => {
                events.alarm("fatal", &error.to_string());
                return Some(error.to_string());
            }
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ) => {
                // librdkafka doesn't say which partition it is, so every reader has to compare.
                for tenure in self.assignment.all() {
                    tenure.lock().suspect = true;
                    tenure.changed.notify_one();
                }
                events.alarm("position", &error.to_string());
            }
            other => events.warn("consume", &other.to_string()),
        }
        None
    }
}

fn apply_again(tenure: &Tenure, state: MutexGuard<'_, TenureState>) {
    drop(state);
    tenure.request(|_| {});
}

fn list(tenure: &Tenure, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    let mut element = list.add_partition(&tenure.id.topic, tenure.id.partition);
    // Only offsets that librdkafka can't represent are refused, and seeks are checked before they get here.
    let _ = element.set_offset(offset);
    list
}

fn delivered(message: &BorrowedMessage<'_>) -> Delivered {
    Delivered {
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map(headers).unwrap_or_default(),
        timestamp_ms: message.timestamp().to_millis(),
    }
}

/// rdkafka panics on a header name that isn't UTF-8. Anyone may send one, so it must not end this thread: such a header
/// is left out.
fn headers(headers: &BorrowedHeaders) -> Vec<(String, Vec<u8>)> {
    let read = |index| {
        let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok().flatten()?;
        Some((header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
    };
    (0..headers.count()).filter_map(read).collect()
}
