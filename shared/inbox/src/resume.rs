//! Where a partition is read on: at the position in the database, once the record that was applied last has been seen to stand
//! before it. Else this is another log under the topic's name, and its records are not skipped (docs/adr/0018).

use std::time::Duration;

use database::Operation;
use messaging::{BusError, Delivered, Partition, TopicPartition, Watermarks, label};
use metrics::counter;

use crate::error_policy::HandlerError;
use crate::metrics::ANOTHER_LOG;
use crate::positions::{self, Position};
use crate::shared::Shared;

/// How long the record that was applied last may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How reading goes on.
pub(crate) enum Resumed {
    At(i64),
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
        let Watermarks { low, high, .. } = self.bus.watermarks(id).await.map_err(retry)?;
        let Some(position) = known else {
            let established = database.connection(Operation::Batch, |mut conn| async move {
                positions::establish(&mut conn, id, low).await
            });
            return seek(partition, established.await?.next_offset, None).await;
        };
        let stopped = match (&position.stopped_reason, position.last_record_offset) {
            (Some(reason), _) => Some(reason.clone()),
            // Where it lies below the beginning, retention has removed it.
            (None, Some(offset)) if offset >= low => {
                let read = if offset < high { read_one(partition, offset).await? } else { Read::Nothing };
                match read {
                    Read::Revoked => return Ok(Resumed::Revoked),
                    Read::Removed => None,
                    Read::Record(record) if position.is_last_record(&record) => None,
                    Read::Record(_) | Read::Nothing => Some(self.stop(id, &position, offset).await?),
                }
            }
            (None, _) => None,
        };
        seek(partition, position.next_offset, stopped).await
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

/// Goes on at an offset, unless the partition is stopped.
async fn seek(
    partition: &mut dyn Partition,
    next_offset: i64,
    stopped: Option<String>,
) -> Result<Resumed, HandlerError> {
    match partition.seek(next_offset).await {
        Ok(()) => Ok(stopped.map_or(Resumed::At(next_offset), Resumed::Stopped)),
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
    /// Retention has removed it meanwhile.
    Removed,
    /// The partition is another member's.
    Revoked,
}

async fn read_one(partition: &mut dyn Partition, offset: i64) -> Result<Read, HandlerError> {
    match partition.seek(offset).await {
        Ok(()) => {}
        Err(BusError::Closed) => return Ok(Read::Revoked),
        Err(error) => return Err(retry(error)),
    }
    let late =
        |_| HandlerError::Retry(format!("no record at offset {offset} within {READ_TIMEOUT:?}").into());
    Ok(match tokio::time::timeout(READ_TIMEOUT, partition.next_batch(1, 1)).await.map_err(late)? {
        None => Read::Revoked,
        Some(Err(_)) => Read::Removed,
        Some(Ok(batch)) => batch.records.into_iter().next().map_or(Read::Nothing, Read::Record),
    })
}
