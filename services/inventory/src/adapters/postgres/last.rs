//! What a row says of its last message, which the next one names.

/// What a row has published last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last {
    /// How many events, those of this transaction included.
    pub(super) sequence: i64,
    /// The last message before this transaction.
    pub(super) message_id: Option<i64>,
}
