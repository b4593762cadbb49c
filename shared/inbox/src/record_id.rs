//! What identifies a record: a digest of its bytes, and an id for one whose own can't be read.

use messaging::{Delivered, TopicPartition};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// SHA-256 over timestamp, key and value, each with its length; none differs from empty.
#[must_use]
pub(crate) fn digest(record: &Delivered) -> [u8; 32] {
    let mut hash = Sha256::new();
    let timestamp = record.timestamp_ms.map(i64::to_be_bytes);
    for part in [timestamp.as_ref().map(<[u8; 8]>::as_slice), record.key.as_deref(), record.value.as_deref()]
    {
        match part {
            None => hash.update([0]),
            Some(bytes) => {
                hash.update([1]);
                hash.update((bytes.len() as u64).to_be_bytes());
                hash.update(bytes);
            }
        }
    }
    hash.finalize().into()
}

/// The id under which a record is remembered whose own id can't be read. It begins with ff, which no UUIDv7 does before
/// the year 10,000, and another record at the same place has another one.
#[must_use]
pub fn made_id(partition: &TopicPartition, record: &Delivered) -> Uuid {
    let mut hash = Sha256::new();
    hash.update((partition.topic.len() as u64).to_be_bytes());
    hash.update(&partition.topic);
    hash.update(partition.partition.to_be_bytes());
    hash.update(record.offset.to_be_bytes());
    hash.update(digest(record));
    let hash: [u8; 32] = hash.finalize().into();
    let mut id = [0xff; 16];
    id[1..].copy_from_slice(&hash[..15]);
    Uuid::from_bytes(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: Option<&[u8]>, value: Option<&[u8]>) -> Delivered {
        Delivered {
            offset: 7,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: Vec::new(),
            timestamp_ms: Some(1),
        }
    }

    #[test]
    fn two_unreadable_records_at_one_offset_of_two_logs_have_two_ids() {
        let at = TopicPartition { topic: "orders".to_owned(), partition: 3 };
        let variants = [
            record(None, None),
            record(Some(b""), None),
            record(None, Some(b"")),
            record(Some(b"a"), Some(b"b")),
            record(Some(b"ab"), Some(b"")),
        ];
        let ids: std::collections::BTreeSet<_> = variants.iter().map(|record| made_id(&at, record)).collect();
        assert_eq!(ids.len(), variants.len());
        assert!(ids.iter().all(|id| id.as_bytes()[0] == 0xff));
        assert_eq!(made_id(&at, &variants[0]), made_id(&at, &variants[0].clone()));
    }
}
