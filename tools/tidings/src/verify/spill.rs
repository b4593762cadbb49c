//! Records and rows by key range, in memory as long as they are few and in temporary files beyond.

use std::fs::File;
use std::io::{Read, Seek, Write};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::delivery::{InboxRow, MessageRow};
use super::history::Record;
use super::keys::Keys;

/// How many bytes are kept in memory before all of them go to files.
const IN_MEMORY: usize = 64 * 1024 * 1024;

/// Something that belongs to a key. Services are numbered as in `ServiceName::ALL`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Entry {
    /// A record of its topic.
    Record(Box<Record>),
    /// What became of an event in a service.
    Inbox(u8, InboxRow),
    /// A message of a service's outbox.
    Message(u8, Box<MessageRow>),
}

/// What one key range has got.
#[derive(Debug, Default)]
struct Part {
    memory: Vec<u8>,
    file: Option<File>,
}

/// A part for each range of order ids, and one for all SKUs.
#[derive(Debug)]
pub(super) struct Parts {
    ranges: Vec<Keys>,
    parts: Vec<Part>,
    in_memory: usize,
}

impl Parts {
    /// Parts for these ranges, which rise, and for SKUs.
    pub(super) fn new(ranges: Vec<Keys>) -> Self {
        let parts = (0..=ranges.len()).map(|_| Part::default()).collect();
        Self { ranges, parts, in_memory: 0 }
    }

    /// Adds what belongs to an order, or without one to a SKU.
    ///
    /// # Errors
    /// When a temporary file can't be written.
    pub(super) fn add(&mut self, order_id: Option<Uuid>, entry: &Entry) -> anyhow::Result<()> {
        let at = order_id.map_or(self.ranges.len(), |id| {
            self.ranges.partition_point(|keys| keys.to < id).min(self.ranges.len() - 1)
        });
        let bytes = postcard::to_allocvec(entry).context("packing what was read")?;
        let part = &mut self.parts[at];
        part.memory.extend_from_slice(&u32::try_from(bytes.len())?.to_le_bytes());
        part.memory.extend_from_slice(&bytes);
        self.in_memory += 4 + bytes.len();
        if self.in_memory > IN_MEMORY { self.spill() } else { Ok(()) }
    }

    /// Files without a name: they go with this process, however it ends.
    fn spill(&mut self) -> anyhow::Result<()> {
        let wanted = || "temporary files for what was read: TMPDIR names their folder";
        for part in self.parts.iter_mut().filter(|part| !part.memory.is_empty()) {
            let file = match &mut part.file {
                Some(file) => file,
                none => none.insert(tempfile::tempfile().with_context(wanted)?),
            };
            file.write_all(&part.memory).with_context(wanted)?;
            part.memory = Vec::new();
        }
        self.in_memory = 0;
        Ok(())
    }

    /// Takes what a part has got, in the order in which it came.
    ///
    /// # Errors
    /// When its temporary file can't be read.
    pub(super) fn take(&mut self, at: usize) -> anyhow::Result<Vec<Entry>> {
        let Part { memory, file } = std::mem::take(&mut self.parts[at]);
        self.in_memory -= memory.len();
        let mut bytes = Vec::new();
        if let Some(mut file) = file {
            file.rewind().and_then(|()| file.read_to_end(&mut bytes)).context("reading a temporary file")?;
        }
        bytes.extend(memory);
        let mut entries = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((length, packed)) = rest.split_first_chunk::<4>() {
            let (entry, after) = packed
                .split_at_checked(u32::from_le_bytes(*length) as usize)
                .context("a temporary file ends too early")?;
            entries.push(postcard::from_bytes(entry).context("unpacking a temporary file")?);
            rest = after;
        }
        Ok(entries)
    }

    /// The ranges of orders.
    pub(super) fn ranges(&self) -> &[Keys] {
        &self.ranges
    }
}

#[cfg(test)]
mod tests {
    use contracts::Topic;

    use super::*;
    use crate::verify::history::{Place, not_decoded};

    fn record(offset: i64, size: usize) -> Record {
        Record {
            place: Place { topic: Topic::Payments, partition: 3, offset },
            key: Some(b"key".to_vec()),
            headers: vec![("ce_id".to_owned(), b"1".to_vec())],
            value: Some(vec![7; size]),
            timestamp_ms: Some(5),
            event: not_decoded(),
        }
    }

    #[test]
    fn what_is_more_than_memory_holds_comes_back_in_order_by_key() {
        let ids = [1, 5, 9].map(Uuid::from_u128);
        let mut parts = Parts::new(Keys::beginning_at(&ids[1..2]));
        let size = IN_MEMORY / 3;
        for offset in 0..8 {
            let order_id = ids.get(usize::try_from(offset).unwrap() % 4).copied();
            parts.add(order_id, &Entry::Record(Box::new(record(offset, size)))).unwrap();
        }
        assert!(parts.parts.iter().any(|part| part.file.is_some()));
        for (at, expected) in [(0, vec![0, 4]), (1, vec![1, 2, 5, 6]), (2, vec![3, 7])] {
            let entries = parts.take(at).unwrap();
            let same = |(entry, offset): (&Entry, &i64)| matches!(entry, Entry::Record(it) if **it == record(*offset, size));
            assert!(entries.len() == expected.len() && entries.iter().zip(&expected).all(same), "{at}");
        }
    }
}
