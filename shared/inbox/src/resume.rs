//! Where a partition is read on: at the position in the database, once the record that was applied last has been seen to stand
//! before it. Else this is another log under the topic's name, and its records are not skipped (docs/adr/0018).

use std::time::Duration;

use database::Operation;
use messaging::{Bus, BusError, Delivered, Partition, ReadError, TopicPartition, Watermarks, label};
use metrics::counter;

use crate::error_policy::HandlerError;
use crate::metrics::ANOTHER_LOG;
use crate::positions::{self, Position};
use crate::shared::Shared;

/// How long the record that was applied last may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a leader is asked whose log ends before the record, until it is believed, and how long in between: five seconds. One
/// that was replaced, and does not know it yet, gives the end of its own log.
const ASKED: u32 = 11;
const ASKED_EVERY: Duration = Duration::from_millis(500);

/// How reading goes on.
pub(crate) enum Resumed {
    At {
        next_offset: i64,
        /// The log to which it belongs.
        log: i32,
    },
    /// Not before an operator has looked.
    Stopped(String),
    /// The partition is another member's.
    Revoked,
}

impl Shared {
    /// Seeks to the position.
    pub(crate) async fn resume(
        &self,
        id: &TopicPartition,
        partition: &mut dyn Partition,
    ) -> Result<Resumed, HandlerError> {
        let database = &self.applier.database;
        let found = database
            .connection(Operation::Batch, |mut conn| async move { positions::find(&mut conn, id).await });
        let known = found.await?;
        // Asked after the position: another member may move it on.
        let marks = self.bus.watermarks(id).await.map_err(retry)?;
        let Some(position) = known else {
            let established = database.connection(Operation::Batch, |mut conn| async move {
                positions::establish(&mut conn, id, marks.low).await
            });
            return seek(partition, &established.await?).await;
        };
        let stopped = match (&position.stopped_reason, position.last_record_offset) {
            (Some(reason), _) => Some(reason.clone()),
            (None, Some(offset)) => match find_record(&*self.bus, partition, offset, marks).await? {
                Read::Revoked => return Ok(Resumed::Revoked),
                Read::Removed => None,
                Read::Record(record) if position.is_last_record(&record) => None,
                Read::Record(_) | Read::Nothing => Some(self.stop(id, &position, offset).await?),
            },
            (None, None) => None,
        };
        match stopped {
            // The position may lie outside the log: it is not asked for.
            Some(reason) => Ok(Resumed::Stopped(reason)),
            None => seek(partition, &position).await,
        }
    }

    async fn stop(
        &self,
        id: &TopicPartition,
        position: &Position,
        offset: i64,
    ) -> Result<String, HandlerError> {
        let reason =
            format!("another log: the record that was applied last does not stand at offset {offset}");
        let text = &reason;
        let stopped = self.applier.database.connection(Operation::Batch, |mut conn| async move {
            positions::stop(&mut conn, id, position, text).await
        });
        stopped.await?;
        counter!("inbox_partitions_stopped_total", "topic" => label(&id.topic), "reason" => ANOTHER_LOG)
            .increment(1);
        tracing::error!(
            topic = id.topic,
            partition = id.partition,
            reason,
            "partition stopped; see docs/guarantees.md"
        );
        Ok(reason)
    }
}

fn retry(error: BusError) -> HandlerError {
    HandlerError::Retry(Box::new(error))
}

/// Goes on at a position.
async fn seek(partition: &mut dyn Partition, position: &Position) -> Result<Resumed, HandlerError> {
    let Position { next_offset, log, .. } = *position;
    match partition.seek(next_offset).await {
        Ok(()) => Ok(Resumed::At { next_offset, log }),
        Err(BusError::Closed) => Ok(Resumed::Revoked),
        Err(error) => Err(retry(error)),
    }
}

/// What stands at an offset.
enum Read {
    /// The first record there or behind.
    Record(Delivered),
    /// Nothing: the partition ends before it.
    Nothing,
    /// Retention has removed it.
    Removed,
    /// The partition is another member's.
    Revoked,
}

/// What stands at the offset. That the log ends before it is asked again, until it is believed.
async fn find_record(
    bus: &dyn Bus,
    partition: &mut dyn Partition,
    offset: i64,
    mut marks: Watermarks,
) -> Result<Read, HandlerError> {
    for _ in 1..ASKED {
        match read_one(partition, offset, marks).await? {
            Read::Nothing => {}
            found => return Ok(found),
        }
        tokio::time::sleep(ASKED_EVERY).await;
        marks = bus.watermarks(partition.id()).await.map_err(retry)?;
    }
    read_one(partition, offset, marks).await
}

async fn read_one(
    partition: &mut dyn Partition,
    offset: i64,
    Watermarks { low, high, .. }: Watermarks,
) -> Result<Read, HandlerError> {
    if offset < low || offset >= high {
        return Ok(if offset < low { Read::Removed } else { Read::Nothing });
    }
    match partition.seek(offset).await {
        Ok(()) => {}
        Err(BusError::Closed) => return Ok(Read::Revoked),
        Err(error) => return Err(retry(error)),
    }
    let late =
        |_| HandlerError::Retry(format!("no record at offset {offset} within {READ_TIMEOUT:?}").into());
    Ok(match tokio::time::timeout(READ_TIMEOUT, partition.next_batch(1, 1)).await.map_err(late)? {
        None => Read::Revoked,
        Some(Err(ReadError::OutOfRange(outside))) if outside.low > offset => Read::Removed,
        Some(Err(ReadError::OutOfRange(_))) => Read::Nothing,
        Some(Err(error @ ReadError::Reset { .. })) => return Err(HandlerError::Retry(Box::new(error))),
        Some(Ok(batch)) => batch.records.into_iter().next().map_or(Read::Nothing, Read::Record),
    })
}
