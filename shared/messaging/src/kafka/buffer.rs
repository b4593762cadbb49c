//! How much of a partition is kept ready for its reader.

use super::partition_assignment::AssignmentState;

/// The bounds of each partition's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferLimits {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

impl BufferLimits {
    pub(crate) fn is_full(self, state: &AssignmentState) -> bool {
        state.buffer.len() >= self.records || state.buffer_bytes >= self.bytes
    }

    /// Resuming fetches again what librdkafka had prefetched, so it waits until half of the buffer is free.
    pub(crate) fn has_room(self, state: &AssignmentState) -> bool {
        state.buffer.len() <= self.records / 2 && state.buffer_bytes <= self.bytes / 2
    }
}
