//! One relay's way to a broker that others may well reach: a test cuts it, altogether or to some partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use messaging::{
    Bus, BusError, Consumer, PartitionState, Producer, Record, RecordRef, Reports, Subscription,
    TopicPartition, TopicSpec, Watermarks, partition_for_key,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many partitions each topic of a stage has.
pub(crate) const PARTITIONS: i32 = 6;

/// What happened to producers, in order: whose, and whether it was opened or dropped.
pub(crate) type Events = Arc<Mutex<Vec<(&'static str, bool)>>>;

/// A key of each of these partitions, all of them different.
pub(crate) fn keys_of(partitions: &[i32]) -> Vec<String> {
    let mut names = (0..).map(|n| format!("key-{n}"));
    let mut key_of = |partition: &i32| {
        names.find(|key| partition_for_key(key.as_bytes(), PARTITIONS) == *partition).unwrap()
    };
    partitions.iter().map(&mut key_of).collect()
}

/// A bus whose way can be cut.
#[derive(Debug)]
pub(crate) struct Way {
    name: &'static str,
    bus: Arc<dyn Bus>,
    state: watch::Sender<Cut>,
    /// How often partition 0 of any topic, or the partitions' names, were asked for.
    rounds: AtomicUsize,
    /// What was sent while the way was cut, as a network may still deliver it later.
    lingering: Mutex<Vec<Record>>,
    events: Events,
}

#[derive(Clone, Debug, Default)]
struct Cut {
    partitions: BTreeSet<i32>,
    names: Names,
    producers: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Names {
    #[default]
    Answered,
    Refused,
    Silent,
}

impl Way {
    pub(crate) fn new(name: &'static str, bus: Arc<dyn Bus>, events: &Events) -> Arc<Self> {
        Arc::new(Self {
            name,
            bus,
            state: watch::Sender::new(Cut::default()),
            rounds: AtomicUsize::new(0),
            lingering: Mutex::default(),
            events: Arc::clone(events),
        })
    }

    /// Records for these partitions, and questions about them, get no answer.
    pub(crate) fn cut(&self, partitions: &[i32]) {
        self.state.send_modify(|cut| cut.partitions = partitions.iter().copied().collect());
    }

    /// Not even the partitions' names are answered.
    pub(crate) fn cut_everything(&self) {
        self.cut(&(0..PARTITIONS).collect::<Vec<_>>());
        self.state.send_modify(|cut| cut.names = Names::Refused);
    }

    /// A question for the partitions' names is never answered.
    pub(crate) fn tell_no_names(&self) {
        self.state.send_modify(|cut| cut.names = Names::Silent);
    }

    /// No producer is made.
    pub(crate) fn refuse_producers(&self) {
        self.state.send_modify(|cut| cut.producers = true);
    }

    pub(crate) fn open(&self) {
        self.state.send_replace(Cut::default());
    }

    /// How often it was asked what this way reaches.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.load(Ordering::SeqCst)
    }

    /// How many records of this way were sent while it was cut.
    pub(crate) fn lingering(&self) -> usize {
        locked(&self.lingering).len()
    }

    /// Delivers what was sent while the way was cut.
    pub(crate) async fn land(&self) {
        let records = std::mem::take(&mut *locked(&self.lingering));
        let producer = self.bus.producer().await.unwrap();
        for record in records {
            producer.send(record).await.unwrap();
        }
    }

    fn reaches(&self, partition: i32) -> bool {
        !self.state.borrow().partitions.contains(&partition)
    }

    fn count(&self, opened: bool) {
        locked(&self.events).push((self.name, opened));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cut(action: &str) -> BusError {
    BusError::Unavailable {
        broker: "behind a cut way".to_owned(),
        action: action.to_owned(),
        detail: "the test cut it".to_owned(),
    }
}

/// A way is shared; a producer of it needs it, too.
#[derive(Clone, Debug)]
pub(crate) struct Through(pub(crate) Arc<Way>);

#[async_trait]
impl Bus for Through {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.0.bus.create_topics(topics).await
    }

    async fn producer(&self) -> Result<Box<dyn Producer>, BusError> {
        if self.0.state.borrow().producers {
            return Err(cut("make a producer"));
        }
        let producer = self.0.bus.producer().await?;
        self.0.count(true);
        let (producer, way) = (Arc::from(producer), Arc::clone(&self.0));
        Ok(Box::new(CutProducer { producer, way, waiting: Mutex::default() }))
    }

    async fn subscribe(
        &self,
        group: &str,
        subscription: &Subscription,
    ) -> Result<Box<dyn Consumer>, BusError> {
        self.0.bus.subscribe(group, subscription).await
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<PartitionState>, BusError> {
        let names = self.0.state.borrow().names;
        match names {
            Names::Answered => self.0.bus.partitions(topic).await,
            Names::Refused => {
                self.0.rounds.fetch_add(1, Ordering::SeqCst);
                Err(cut("list partitions"))
            }
            Names::Silent => {
                self.0.rounds.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
        }
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError> {
        if partition.partition == 0 {
            self.0.rounds.fetch_add(1, Ordering::SeqCst);
        }
        if !self.0.reaches(partition.partition) {
            return Err(cut("return watermarks"));
        }
        self.0.bus.watermarks(partition).await
    }

    async fn committed_offsets(
        &self,
        group: &str,
        topics: &[String],
    ) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        self.0.bus.committed_offsets(group, topics).await
    }

    async fn ping(&self, timeout: Duration) -> Result<(), BusError> {
        self.0.bus.ping(timeout).await
    }
}

struct CutProducer {
    producer: Arc<dyn Producer>,
    way: Arc<Way>,
    /// What waits for the way to be open.
    waiting: Mutex<JoinSet<()>>,
}

#[async_trait]
impl Producer for CutProducer {
    fn enqueue(&self, record: RecordRef<'_>, given: Option<i32>, number: u64, reports: &Reports) {
        let by_key = || partition_for_key(record.key.unwrap_or_default(), PARTITIONS);
        let partition = given.unwrap_or_else(by_key);
        if self.way.reaches(partition) {
            return self.producer.enqueue(record, given, number, reports);
        }
        let (headers, record) = (record.headers.clone(), record.to_record());
        locked(&self.way.lingering).push(record.clone());
        let (producer, way, reports) = (Arc::clone(&self.producer), Arc::clone(&self.way), reports.clone());
        locked(&self.waiting).spawn(async move {
            let mut state = way.state.subscribe();
            let open = state.wait_for(|cut| !cut.partitions.contains(&partition));
            // The sender may give the record up before.
            tokio::select! {
                () = reports.closed() => {}
                _ = open => {
                    let (key, value) = (record.key.as_deref(), record.value.as_deref());
                    let record = RecordRef { topic: &record.topic, key, value, headers: &headers };
                    producer.enqueue(record, given, number, &reports);
                }
            }
        });
    }

    async fn flush(&self, timeout: Duration) {
        self.producer.flush(timeout).await;
    }
}

impl Drop for CutProducer {
    fn drop(&mut self) {
        self.way.count(false);
    }
}
