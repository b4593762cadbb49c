//! Reasons for which a key is blocked, and the alarm.

use crate::metrics::GAP;
use crate::relay::poll::table::{Block, Retry};
use crate::relay::row::Row;

/// The message before this one is missing.
pub(super) fn gap(row: &Row) -> Block {
    let previous_id = row.previous_id.unwrap_or_default();
    let detail = match row.predecessor_published {
        None => format!("message {previous_id}, which message {} follows, is not there", row.id),
        Some(_) => format!("message {previous_id}, which message {} follows, is not read before it", row.id),
    };
    let (topic, key) = (row.topic.clone(), row.queue_key());
    alarm(Block { topic, key, id: row.id, reason: GAP, detail, retry: Retry::ByPerson, ids: Vec::new() })
}

/// A key has just been blocked.
pub(super) fn alarm(block: Block) -> Block {
    metrics::counter!("outbox_keys_blocked_total", "reason" => block.reason).increment(1);
    tracing::error!(
        topic = block.topic,
        key = %block.key,
        message_id = block.id,
        reason = block.reason,
        detail = block.detail,
        retry = ?block.retry,
        "outbox: key blocked; outbox.blocked_keys has the time of the next retry, deleting the row releases the key"
    );
    block
}
