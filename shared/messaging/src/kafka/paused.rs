//! The gauge of paused partitions, to which every member of this process adds its own.

use metrics::gauge;

/// A member's share of the gauge; taken back when the member ends.
#[derive(Debug, Default)]
pub(crate) struct Paused(usize);

impl Paused {
    /// So many of the member's partitions are paused now.
    pub(crate) fn show(&mut self, partitions: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        let change = partitions as f64 - self.0 as f64;
        gauge!("messaging_paused_partitions").increment(change);
        self.0 = partitions;
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.show(0);
    }
}
