//! The one thread that talks to librdkafka for a member: it polls, applies the readers' requests, fills their buffers. It
//! sleeps while there is neither an event nor a request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::assignment::Assignment;
use super::buffer::BufferLimits;
use super::group::GroupContext;
use super::partition_assignment::PartitionAssignment;
use super::paused::Paused;
use crate::bus::{Delivered, TopicPartition};

/// Positions are committed to Kafka for lag tools only. Also the interval in which passed transaction markers are read, and
/// the longest sleep.
const COMMIT_EVERY: Duration = Duration::from_millis(250);
/// librdkafka's own thread answers a seek; it needs no network.
const SEEK: Duration = Duration::from_secs(5);
/// Bound of the question that wakes a broker's thread; its answer is not used.
const WAKE_TIMEOUT: Duration = Duration::from_millis(50);

/// A member's connection to librdkafka.
pub(crate) struct Poller {
    client: BaseConsumer<GroupContext>,
    assignment: Arc<Assignment>,
    limits: BufferLimits,
    committed: Instant,
    paused: Paused,
}

impl Poller {
    pub(crate) fn new(client: BaseConsumer<GroupContext>, limits: BufferLimits) -> Self {
        let assignment = Arc::clone(client.context().assignment());
        Self { client, assignment, limits, committed: Instant::now(), paused: Paused::default() }
    }

    /// Polls until `stop` is set, then leaves the group.
    pub(crate) fn run(mut self, stop: &AtomicBool) {
        let waker = Arc::clone(self.assignment.waker());
        waker.bind();
        let on_event = Arc::clone(&waker);
        self.client.set_nonempty_callback(move || on_event.wake());
        while !stop.load(Ordering::Acquire) {
            if waker.take_request() {
                self.apply();
            }
            if self.committed.elapsed() >= COMMIT_EVERY {
                self.commit();
                self.pass_markers();
            }
            let served = self.client.context().served();
            match self.client.poll(Duration::ZERO) {
                // librdkafka calls back once when its queue gets an event, so it has to be empty before the thread sleeps:
                // an event that was served by a callback is no message either.
                None if self.client.context().served() == served => {
                    thread::park_timeout(COMMIT_EVERY.saturating_sub(self.committed.elapsed()));
                }
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
        // Dropping the client revokes what is assigned and leaves the group, polling until it has been closed.
    }

    fn deliver(&self, message: &BorrowedMessage<'_>) {
        let Some(assigned) = self.assignment.find(message.topic(), message.partition()) else { return };
        let mut state = assigned.lock();
        if !state.accepts(message.offset()) {
            return;
        }
        state.push(delivered(message));
        if self.limits.is_full(&state) && !state.paused {
            state.paused = true;
            if let Err(error) = self.client.pause(&list(&assigned, Offset::Invalid)) {
                state.paused = false;
                self.client.context().events().warn("pause", &error.to_string());
            }
        }
        drop(state);
        assigned.changed.notify_one();
    }

    /// Applies seeks and resumptions. Failures are retried with the next poll.
    fn apply(&self) {
        for assigned in self.assignment.all() {
            let Some(offset) = assigned.lock().target() else { continue };
            match self.fetch_from(&assigned, offset) {
                Ok(outdated) => assigned.lock().arrived(offset, outdated),
                Err(error) => {
                    self.client.context().events().warn("seek", &error.to_string());
                    assigned.request(|state| state.wanted_resume = true);
                }
            }
        }
    }

    /// Resumes, then seeks: the other way round librdkafka's broker thread would be woken by the seek, find the partition
    /// paused and sleep for up to a second. After that, what is polled is what the seek asked for. Gives a position of before it that
    /// librdkafka may still report.
    fn fetch_from(&self, assigned: &PartitionAssignment, offset: i64) -> KafkaResult<Option<i64>> {
        self.client.resume(&list(assigned, Offset::Invalid))?;
        let target = list(assigned, Offset::Offset(offset));
        let answer = self.client.seek_partitions(target.clone(), SEEK)?;
        if answer.elements().iter().any(|element| element.error().is_err()) {
            let outdated = self.position(assigned)?;
            self.assign_anew(&target)?;
            return Ok(outdated);
        }
        if offset == 0 {
            // A seek to 0 does not wake the broker's thread, but a question to the same broker does.
            let TopicPartition { topic, partition } = &assigned.id;
            let _ = self.client.fetch_watermarks(topic, *partition, WAKE_TIMEOUT);
        }
        Ok(None)
    }

    /// After an error of `auto.offset.reset=error` librdkafka no longer fetches a partition, and refuses to seek in it. It stops
    /// the partition in the background: until then its position is the one of before.
    fn assign_anew(&self, target: &TopicPartitionList) -> KafkaResult<()> {
        if let Err(error) = self.client.incremental_unassign(target) {
            // It may be missing because assigning it has failed before.
            self.client.context().events().warn("unassign", &error.to_string());
        }
        self.client.incremental_assign(target)
    }

    /// librdkafka's position, if it has one: behind the last record or marker that was polled.
    fn position(&self, assigned: &PartitionAssignment) -> KafkaResult<Option<i64>> {
        let positions = self.client.position()?;
        let element = positions.find_partition(&assigned.id.topic, assigned.id.partition);
        Ok(element.and_then(|element| known(element.offset())))
    }

    /// Passes the markers of transactions, which librdkafka does not deliver. All records before its position were polled and are in
    /// the buffer; a seek makes the position unknown.
    fn pass_markers(&self) {
        let positions = match self.client.position() {
            Ok(positions) => positions,
            Err(error) => return self.client.context().events().warn("position", &error.to_string()),
        };
        for element in positions.elements() {
            let Some(assigned) = self.assignment.find(element.topic(), element.partition()) else { continue };
            if assigned.lock().passed(known(element.offset())) {
                assigned.changed.notify_one();
            }
        }
    }

    fn commit(&mut self) {
        self.committed = Instant::now();
        let partitions = self.assignment.all();
        self.client.context().commit(&self.client, &partitions);
        self.paused.show(partitions.iter().filter(|assigned| assigned.lock().paused).count());
    }

    /// The reason, if the error ends this member. librdkafka retries after all others.
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
                // librdkafka doesn't name the partition, so every reader has to compare.
                for assigned in self.assignment.all() {
                    assigned.lock().maybe_out_of_range = true;
                    assigned.changed.notify_one();
                }
            }
            other => events.warn("consume", &other.to_string()),
        }
        None
    }
}

fn known(position: Offset) -> Option<i64> {
    if let Offset::Offset(offset) = position { Some(offset) } else { None }
}

fn list(assigned: &PartitionAssignment, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    let mut element = list.add_partition(&assigned.id.topic, assigned.id.partition);
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
