//! Topics as append-only logs.

use std::collections::VecDeque;

use crate::bus::{Delivered, PositionError, TopicPartition, Watermarks};
use crate::murmur2::partition_for_key;

pub(crate) struct Topic {
    logs: Vec<Log>,
    /// How often it was deleted and made anew.
    recreated: u64,
}

impl Topic {
    pub(crate) fn new(partitions: i32) -> Self {
        Self { logs: (0..partitions.max(1)).map(|_| Log::default()).collect(), recreated: 0 }
    }

    pub(crate) fn grow(&mut self, partitions: i32) {
        let partitions = usize::try_from(partitions).unwrap_or_default().max(self.logs.len());
        self.logs.resize_with(partitions, Log::default);
    }

    pub(crate) fn recreate(&mut self) {
        self.logs.fill_with(Log::default);
        self.recreated += 1;
    }

    pub(crate) fn recreated(&self) -> u64 {
        self.recreated
    }

    pub(crate) fn partitions(&self) -> i32 {
        i32::try_from(self.logs.len()).unwrap_or(i32::MAX)
    }

    pub(crate) fn partition_for(&self, key: Option<&[u8]>) -> i32 {
        key.map_or(0, |key| partition_for_key(key, self.partitions()))
    }

    pub(crate) fn log(&self, partition: i32) -> Option<&Log> {
        self.logs.get(usize::try_from(partition).ok()?)
    }

    pub(crate) fn log_mut(&mut self, partition: i32) -> Option<&mut Log> {
        self.logs.get_mut(usize::try_from(partition).ok()?)
    }
}

/// One partition: what was appended and not yet expired. Offsets have holes, where control records stand.
#[derive(Default)]
pub(crate) struct Log {
    low: i64,
    high: i64,
    pub(crate) records: VecDeque<Delivered>,
}

impl Log {
    pub(crate) fn watermarks(&self, partition: i32) -> Watermarks {
        Watermarks { partition, low: self.low, high: self.high }
    }

    pub(crate) fn append(&mut self, mut record: Delivered) -> i64 {
        record.offset = self.high;
        self.records.push_back(record);
        self.high += 1;
        self.high - 1
    }

    /// An offset that no reader is given a record for.
    pub(crate) fn append_control_record(&mut self) -> i64 {
        self.high += 1;
        self.high - 1
    }

    pub(crate) fn expire(&mut self, low: i64) {
        self.low = low.clamp(self.low, self.high);
        while self.records.front().is_some_and(|record| record.offset < self.low) {
            self.records.pop_front();
        }
    }

    /// The records from `offset` on, bounded, and the position behind them and the control records that follow.
    pub(crate) fn read(
        &self,
        id: &TopicPartition,
        offset: i64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<(Vec<Delivered>, i64), PositionError> {
        let (low, high) = (self.low, self.high);
        let outside =
            || PositionError { topic: id.topic.clone(), partition: id.partition, offset, low, high };
        if !(low..=high).contains(&offset) {
            return Err(outside());
        }
        let skip = self.records.partition_point(|record| record.offset < offset);
        let mut bytes = 0;
        let mut batch = Vec::new();
        for record in self.records.range(skip..) {
            bytes += record.bytes();
            if !batch.is_empty() && (batch.len() >= max_records || bytes > max_bytes) {
                break;
            }
            batch.push(record.clone());
        }
        let next = self.records.get(skip + batch.len());
        Ok((batch, next.map_or(high, |next| next.offset)))
    }
}
