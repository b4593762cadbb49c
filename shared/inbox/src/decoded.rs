//! A decoded batch of one partition, and the part of it that one transaction applies.

use std::ops::Range;
use std::sync::Arc;

use messaging::{Batch, Delivered, TopicPartition};

use crate::decoding::Item;
use crate::error_policy::Rejection;
use crate::spans::BatchSpans;

/// Records that follow each other in one log of a partition, and what each of them is.
#[derive(Debug)]
pub(crate) struct DecodedBatch {
    pub(crate) partition: TopicPartition,
    /// The log in which they stand (docs/adr/0018).
    pub(crate) log: i32,
    pub(crate) batch: Batch,
    /// One per record.
    pub(crate) items: Vec<Item>,
    pub(crate) spans: BatchSpans,
}

/// Records of a decoded batch that are applied together.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    decoded: Arc<DecodedBatch>,
    range: Range<usize>,
    /// Why all of its events become dead letters, if they do.
    pub(crate) blamed: Option<Rejection>,
}

impl Part {
    /// These records of the batch.
    pub(crate) const fn new(
        decoded: Arc<DecodedBatch>,
        range: Range<usize>,
        blamed: Option<Rejection>,
    ) -> Self {
        Self { decoded, range, blamed }
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.decoded.partition
    }

    pub(crate) fn log(&self) -> i32 {
        self.decoded.log
    }

    pub(crate) fn spans(&self) -> &BatchSpans {
        &self.decoded.spans
    }

    pub(crate) fn records(&self) -> &[Delivered] {
        self.decoded.batch.records.get(self.range.clone()).unwrap_or_default()
    }

    pub(crate) fn items(&self) -> &[Item] {
        self.decoded.items.get(self.range.clone()).unwrap_or_default()
    }

    /// The position before its first record: that of the reader, because offsets have gaps.
    pub(crate) fn from(&self) -> i64 {
        let batch = &self.decoded.batch;
        if self.range.start == 0 { batch.from } else { behind(batch, self.range.start) }
    }

    /// The position behind its last record.
    pub(crate) fn to(&self) -> i64 {
        let batch = &self.decoded.batch;
        if self.range.end == batch.records.len() { batch.to } else { behind(batch, self.range.end) }
    }

    /// Whether it is all that was decoded.
    pub(crate) fn is_whole(&self) -> bool {
        self.range == (0..self.decoded.batch.records.len())
    }

    /// The number of records from its first one that have together at most so many bytes, and are at most so many; one
    /// at least.
    pub(crate) fn fitting(&self, max_records: usize, max_bytes: usize) -> (usize, usize) {
        let (mut records, mut bytes) = (0, 0_usize);
        for record in self.records() {
            let next = bytes.saturating_add(size(record));
            if records > 0 && (records >= max_records || next > max_bytes) {
                break;
            }
            (records, bytes) = (records + 1, next);
        }
        (records, bytes)
    }

    /// Whether its first records alone are as much as one transaction may have.
    pub(crate) fn fills(&self, max_records: usize, max_bytes: usize) -> bool {
        let (records, bytes) = self.fitting(max_records, max_bytes);
        records >= max_records || bytes >= max_bytes || records < self.records().len()
    }

    /// Its first records.
    pub(crate) fn first(&self, records: usize) -> Self {
        let end = self.range.end.min(self.range.start + records);
        Self { range: self.range.start..end, ..self.clone() }
    }
}

/// The position behind so many records.
fn behind(batch: &Batch, records: usize) -> i64 {
    batch.records.get(records - 1).map_or(batch.from, |last| last.offset + 1)
}

fn size(record: &Delivered) -> usize {
    let of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    of(&record.key) + of(&record.value) + headers
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A batch of records, each with its offset and size.
    pub(crate) fn decoded(partition: i32, from: i64, to: i64, records: &[(i64, usize)]) -> Arc<DecodedBatch> {
        let record = |(offset, bytes): &(i64, usize)| Delivered {
            offset: *offset,
            key: None,
            value: Some(vec![0; *bytes]),
            headers: Vec::new(),
            timestamp_ms: None,
        };
        let partition = TopicPartition { topic: "example.parcels".to_owned(), partition };
        let mut items: Vec<Item> = records.iter().map(|_| Item::Skipped).collect();
        let batch = Batch { from, to, records: records.iter().map(record).collect() };
        let spans = BatchSpans::begin("example", &partition, &batch, &mut items);
        Arc::new(DecodedBatch { partition, log: 1, batch, items, spans })
    }

    #[test]
    fn parts_join_without_a_hole() {
        let batch = decoded(0, 3, 20, &[(5, 1), (6, 1), (9, 1), (14, 1)]);
        let whole = Part::new(Arc::clone(&batch), 0..4, None);
        assert!(whole.is_whole());
        let (first, second) = (whole.first(2), Part::new(batch, 2..4, None));
        assert_eq!((first.from(), first.to(), second.from(), second.to()), (3, 7, 7, 20));
        assert_eq!((first.records().len(), second.items().len()), (2, 2));
        assert!(!first.is_whole());
        let empty = Part::new(decoded(0, 3, 20, &[]), 0..0, None);
        assert_eq!((empty.from(), empty.to(), empty.is_whole()), (3, 20, true));
    }

    #[test]
    fn a_part_is_cut_by_records_and_by_bytes_and_has_one_record_at_least() {
        let whole = Part::new(decoded(0, 0, 4, &[(0, 10), (1, 10), (2, 10), (3, 10)]), 0..4, None);
        assert_eq!(whole.fitting(9, 100), (4, 40));
        assert_eq!(whole.fitting(3, 100), (3, 30));
        assert_eq!(whole.fitting(9, 29), (2, 20));
        assert_eq!(whole.fitting(0, 0), (1, 10));
        assert_eq!(Part::new(decoded(0, 3, 20, &[]), 0..0, None).fitting(9, 100), (0, 0));
    }

    #[test]
    fn a_part_fills_a_transaction_by_records_or_by_bytes() {
        let whole = Part::new(decoded(0, 0, 4, &[(0, 10), (1, 10), (2, 10), (3, 10)]), 0..4, None);
        assert!(whole.fills(4, 100) && whole.fills(3, 100) && whole.fills(9, 40) && whole.fills(9, 39));
        assert!(!whole.fills(5, 41));
        assert!(!Part::new(decoded(0, 3, 20, &[]), 0..0, None).fills(9, 100));
    }
}
