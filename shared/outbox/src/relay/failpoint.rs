//! Named steps of a relay, so that a test can crash or freeze one exactly there.

/// A relay may crash between two of these: it may then repeat a record, and must not skip one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failpoint {
    /// Rows were read, none of them sent.
    Read,
    /// A record was handed to the producer; its receipt is open.
    Sent,
    /// The broker acknowledged records; the table does not know yet.
    Acknowledged,
    /// The table knows.
    Finished,
}

/// Called at every step that a relay makes.
pub trait Failpoints: Send + Sync + std::fmt::Debug {
    /// The relay has just made `step`.
    fn reached(&self, step: Failpoint);
}

/// No test is listening.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoFailpoints;

impl Failpoints for NoFailpoints {
    fn reached(&self, _step: Failpoint) {}
}
