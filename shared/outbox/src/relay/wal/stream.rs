//! Reads the log beside the leader, in batches of bounded size, and confirms what the leader has settled.

use std::time::Duration;

use database::{Database, Lsn, Replication, ReplicationError, ReplicationMessage};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::decode::{Appended, Decoder, Event, Malformed};

/// How many messages and bytes are in a batch, about.
const BATCH_ROWS: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;
/// Batches that wait for the leader.
const BATCHES: usize = 1;
/// How often the server is told what is settled, and asked where it stands.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// After how long without a message the session counts as lost: the server answers each status.
const SILENCE: Duration = Duration::from_secs(30);

/// Why the log is not read any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("reading the write-ahead log")]
    Replication(#[from] ReplicationError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the server has sent nothing of the write-ahead log for {SILENCE:?}")]
    Silent,
}

impl LogError {
    /// Whether the server refuses, rather than the way to it.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Replication(ReplicationError::Server { .. }) | Self::Malformed(_))
    }
}

/// Something of the log, in order.
#[derive(Debug)]
pub(crate) enum Piece {
    Appended(Appended),
    Committed(Lsn),
    /// Whatever commits before this was told.
    Position(Lsn),
}

pub(crate) type Batch = Result<Vec<Piece>, LogError>;

/// Where the leader gets the log from, and how far it has settled it.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) batches: mpsc::Receiver<Batch>,
    pub(crate) confirmed: watch::Sender<Lsn>,
}

/// The leader's end, and the task that reads.
pub(crate) fn open(
    database: Database,
    slot: String,
    publication: &'static str,
    confirmed: Lsn,
) -> (Log, impl Future<Output = ()> + Send + 'static) {
    let (into, batches) = mpsc::channel(BATCHES);
    let (told, confirmed) = watch::channel(confirmed);
    let reading = async move {
        let read = match database.replicate(&slot, publication).await {
            Ok(replication) => read(replication, &into, confirmed).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = read {
            let _ = into.send(Err(error)).await;
        }
        // The leader ends when it has heard of it, and this with it.
        std::future::pending::<()>().await;
    };
    (Log { batches, confirmed: told }, reading)
}

async fn read(
    mut replication: Replication,
    into: &mpsc::Sender<Batch>,
    mut confirmed: watch::Receiver<Lsn>,
) -> Result<(), LogError> {
    let mut decoder = Decoder::default();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut status = interval(STATUS_INTERVAL);
    status.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    loop {
        let has_room = batch.len() < BATCH_ROWS && bytes < BATCH_BYTES;
        tokio::select! {
            message = replication.next(), if has_room => {
                heard_at = Instant::now();
                match message? {
                    ReplicationMessage::Data { position, message } => {
                        let length = message.len();
                        match decoder.decode(position, message)? {
                            Some(Event::Appended(appended)) => {
                                batch.push(Piece::Appended(appended));
                                bytes += length;
                            }
                            Some(Event::Committed(end)) => batch.push(Piece::Committed(end)),
                            None => {}
                        }
                    }
                    ReplicationMessage::Position(position) => batch.push(Piece::Position(position)),
                }
            }
            permit = into.reserve(), if !batch.is_empty() => {
                let Ok(permit) = permit else { return Ok(()) };
                permit.send(Ok(std::mem::take(&mut batch)));
                bytes = 0;
            }
            changed = confirmed.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let position = *confirmed.borrow_and_update();
                replication.confirm(position).await?;
            }
            _ = status.tick() => {
                if has_room && heard_at.elapsed() > SILENCE {
                    return Err(LogError::Silent);
                }
                if !has_room {
                    heard_at = Instant::now();
                }
                let position = *confirmed.borrow();
                replication.confirm(position).await?;
            }
        }
    }
}
