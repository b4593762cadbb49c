//! The records that a producer has, by the numbers under which it reports about them.

use std::sync::Arc;

use messaging::{Acknowledged, DeliveryError, Headers, Producer, Report, Reports};
use tokio::sync::mpsc;
use tracing::Span;

use crate::relay::row::{QueueKey, Row};
use crate::relay::spans::answered;

/// The broker's answer about the row of a key in flight to a partition.
pub(super) type Answer = (i32, QueueKey, Result<Acknowledged, DeliveryError>);

/// What was sent through one producer and has no answer so far.
pub(super) struct InFlight {
    content_type: Arc<str>,
    /// By number.
    sent: Vec<Option<Sent>>,
    /// Numbers to give again.
    free: Vec<usize>,
    reports: Reports,
    received: mpsc::UnboundedReceiver<Report>,
    /// Of the record that is being sent.
    headers: Headers,
}

struct Sent {
    partition: i32,
    key: QueueKey,
    span: Span,
}

impl InFlight {
    pub(super) fn new(content_type: Arc<str>) -> Self {
        let (reports, received) = mpsc::unbounded_channel();
        Self {
            content_type,
            sent: Vec::new(),
            free: Vec::new(),
            reports,
            received,
            headers: Headers::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.len() == self.free.len()
    }

    /// Hands the row to the producer. The producer decides the partition of a key.
    pub(super) fn send(&mut self, producer: &dyn Producer, partition: i32, key: QueueKey, row: &Row) {
        let span = row.publish(&self.content_type, &mut self.headers);
        let given = match &key {
            QueueKey::Key(_) => None,
            QueueKey::Message(_) => Some(partition),
        };
        let sent = Some(Sent { partition, key, span });
        let number = match self.free.pop() {
            Some(number) => {
                self.sent[number] = sent;
                number
            }
            None => {
                self.sent.push(sent);
                self.sent.len() - 1
            }
        };
        producer.enqueue(row.record(&self.headers), given, number as u64, &self.reports);
    }

    /// The next answer; waits for as long as nothing is in flight, too. Cancel-safe.
    pub(super) async fn next(&mut self) -> Answer {
        loop {
            // The channel does not end: one of its senders is here.
            if let Some(answer) = self.received.recv().await.and_then(|report| self.settle(report)) {
                return answer;
            }
        }
    }

    /// The next answer that is there already.
    pub(super) fn ready(&mut self) -> Option<Answer> {
        loop {
            let report = self.received.try_recv().ok()?;
            if let Some(answer) = self.settle(report) {
                return Some(answer);
            }
        }
    }

    fn settle(&mut self, report: Report) -> Option<Answer> {
        let number = usize::try_from(report.number).ok()?;
        let Sent { partition, key, span } = self.sent.get_mut(number)?.take()?;
        self.free.push(number);
        Some((partition, key, answered(&span, report.outcome)))
    }

    /// The producer is gone: nobody waits for its reports.
    pub(super) fn abandon(&mut self) {
        *self = Self::new(Arc::clone(&self.content_type));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use async_trait::async_trait;
    use messaging::{Outcome, RecordRef};

    use super::*;
    use crate::relay::row::{queue_key, row};

    /// Answers when it is asked to.
    #[derive(Default)]
    struct Held(Mutex<Vec<(u64, Reports)>>);

    #[async_trait]
    impl Producer for Held {
        fn enqueue(&self, _: RecordRef<'_>, _: Option<i32>, number: u64, reports: &Reports) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((number, reports.clone()));
        }

        async fn flush(&self, _: Duration) {}
    }

    impl Held {
        fn answer(&self, index: usize) {
            let (number, reports) = self.0.lock().unwrap_or_else(PoisonError::into_inner)[index].clone();
            let outcome: Outcome = Ok(Acknowledged { partition: 0, offset: 0 });
            let _ = reports.send(Report { number, outcome });
        }
    }

    fn send(in_flight: &mut InFlight, producer: &Held, key: &str) {
        in_flight.send(producer, 0, queue_key(key), &row(1, key, None));
    }

    fn ready(in_flight: &mut InFlight) -> Vec<QueueKey> {
        std::iter::from_fn(|| in_flight.ready()).map(|(_, key, _)| key).collect()
    }

    #[test]
    fn answers_in_any_order_are_about_the_record_that_was_sent_under_their_number() {
        let (mut in_flight, producer) = (InFlight::new("text/plain".into()), Held::default());
        for key in ["a", "b", "c"] {
            send(&mut in_flight, &producer, key);
        }
        producer.answer(1);
        assert_eq!(ready(&mut in_flight), [queue_key("b")]);
        // Its number is free again.
        send(&mut in_flight, &producer, "d");
        for index in [3, 0, 2] {
            producer.answer(index);
        }
        assert_eq!(ready(&mut in_flight), ["d", "a", "c"].map(queue_key));
        assert!(in_flight.is_empty());
        producer.answer(0);
        assert!(ready(&mut in_flight).is_empty(), "each has one answer");
    }

    #[test]
    fn reports_of_a_producer_that_was_replaced_are_about_nothing() {
        let (mut in_flight, producer) = (InFlight::new("text/plain".into()), Held::default());
        send(&mut in_flight, &producer, "a");
        in_flight.abandon();
        assert!(in_flight.is_empty());
        send(&mut in_flight, &producer, "b");
        producer.answer(0);
        assert!(ready(&mut in_flight).is_empty());
        producer.answer(1);
        assert_eq!(ready(&mut in_flight), [queue_key("b")]);
    }
}
