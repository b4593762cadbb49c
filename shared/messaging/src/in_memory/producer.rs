//! Sending to the bus in memory, faults included.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::faults::{Fault, Late, fault_for};
use super::{Shared, State};
use crate::bus::Delivered;
use crate::publishing::{Acknowledged, DeliveryError, Outcome, Producer, Record, RecordRef, Report, Reports};

/// So many records wait for an unavailable broker; the next ones fail, as with a full client queue.
const WAITING_RECORDS: usize = 100_000;

/// A record that waits for the broker to be available again.
pub(crate) struct Waiting {
    producer: u64,
    record: Record,
    /// Given by the sender; none where the key decides.
    partition: Option<i32>,
    number: u64,
    reports: Reports,
}

/// Sends to the bus in memory.
pub(crate) struct InMemoryProducer {
    shared: Arc<Shared>,
    id: u64,
}

impl InMemoryProducer {
    pub(crate) fn new(shared: Arc<Shared>, id: u64) -> Self {
        Self { shared, id }
    }

    fn is_idle(&self) -> bool {
        self.shared.lock().waiting.iter().all(|waiting| waiting.producer != self.id)
    }
}

#[async_trait]
impl Producer for InMemoryProducer {
    fn enqueue(&self, record: RecordRef<'_>, partition: Option<i32>, number: u64, reports: &Reports) {
        let record = record.to_record();
        let mut state = self.shared.lock();
        if takes(&state, &record, partition) {
            report(reports, number, publish(&mut state, record, partition));
        } else if state.waiting.len() < WAITING_RECORDS {
            let reports = reports.clone();
            state.waiting.push(Waiting { producer: self.id, record, partition, number, reports });
        } else {
            let full = DeliveryError::Unacknowledged("the producer's queue is full".into());
            report(reports, number, Err(full));
        }
        drop(state);
        self.shared.changed();
    }

    async fn flush(&self, timeout: Duration) {
        let idle = async {
            let mut changes = self.shared.version.subscribe();
            while !self.is_idle() {
                // The sender lives in `shared`, which we hold.
                let _ = changes.changed().await;
            }
        };
        let _ = tokio::time::timeout(timeout, idle).await;
    }
}

impl Drop for InMemoryProducer {
    fn drop(&mut self) {
        self.shared.lock().waiting.retain(|waiting| waiting.producer != self.id);
    }
}

/// Appends what waited for the broker, in the order in which it was sent.
pub(crate) fn append_waiting(state: &mut State) {
    for waiting in std::mem::take(&mut state.waiting) {
        if !takes(state, &waiting.record, waiting.partition) {
            state.waiting.push(waiting);
            continue;
        }
        let outcome = publish(state, waiting.record, waiting.partition);
        report(&waiting.reports, waiting.number, outcome);
    }
}

fn report(reports: &Reports, number: u64, outcome: Outcome) {
    // The sender may no longer wait.
    let _ = reports.send(Report { number, outcome });
}

/// Whether the broker, and the leader of the record's partition, are there.
fn takes(state: &State, record: &Record, partition: Option<i32>) -> bool {
    let by_key = || state.topics.get(&record.topic).map(|topic| topic.partition_for(record.key.as_deref()));
    let partition = partition.or_else(by_key);
    !state.unavailable && partition.is_none_or(|partition| state.has_leader(&record.topic, partition))
}

fn publish(state: &mut State, record: Record, partition: Option<i32>) -> Outcome {
    let unacknowledged = |what: &str| Err(DeliveryError::Unacknowledged(what.to_owned()));
    match fault_for(&mut state.rules, &record) {
        None => append(state, record, partition),
        Some(Fault::Refuse(refusal)) => {
            let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
            let detail = format!("{key} is not taken on {}", record.topic);
            Err(DeliveryError::Refused { refusal, detail })
        }
        Some(Fault::LoseAcknowledgement) => {
            append(state, record, partition)?;
            unacknowledged("the acknowledgement was lost")
        }
        Some(Fault::TimeOut) => unacknowledged("timed out"),
        Some(Fault::LandLate { behind }) => {
            state.late.push(Late { behind, record, partition });
            unacknowledged("timed out, and will land late")
        }
    }
}

fn append(state: &mut State, record: Record, partition: Option<i32>) -> Outcome {
    let acknowledged = store(state, record, partition)?;
    let (landing, late) = std::mem::take(&mut state.late)
        .into_iter()
        .map(|late| Late { behind: late.behind.saturating_sub(1), ..late })
        .partition::<Vec<_>, _>(|late| late.behind == 0);
    state.late = late;
    for late in landing {
        store(state, late.record, late.partition)?;
    }
    Ok(acknowledged)
}

fn store(state: &mut State, record: Record, partition: Option<i32>) -> Outcome {
    let Some(topic) = state.topics.get_mut(&record.topic) else {
        return Err(DeliveryError::Unacknowledged(format!("topic {} does not exist", record.topic)));
    };
    let partition = partition.unwrap_or_else(|| topic.partition_for(record.key.as_deref()));
    let Some(log) = topic.log_mut(partition) else {
        return Err(DeliveryError::Unacknowledged(format!("{} has no partition {partition}", record.topic)));
    };
    let offset = log.append(Delivered {
        offset: 0,
        key: record.key,
        value: record.value,
        headers: record.headers,
        timestamp_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_millis()).ok()),
    });
    Ok(Acknowledged { partition, offset })
}
