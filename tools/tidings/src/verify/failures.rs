//! What becomes of dead letters and failed mails in a report.

/// Whether dead letters and failed mails are tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failures {
    /// They are listed.
    Listed,
    /// They are violations: nothing was expected to fail.
    Unexpected,
}
