//! Mails that can't be sent.

use crate::verify::check::Check;
use crate::verify::failures::Failures;
use crate::verify::report::{Comparisons, Findings};

/// Mails that can't be sent.
#[derive(Clone, Debug, Default)]
pub struct FailedMails(pub(in crate::verify) Findings);

impl FailedMails {
    /// Adds those of other orders.
    pub(in crate::verify) fn add_all(&mut self, other: &Self) {
        self.0.add_all(&other.0);
    }

    /// Lists them.
    pub(in crate::verify) fn whole(&self, failures: Failures, out: &mut Comparisons) {
        let more = self.0.count - self.0.first.len();
        let more = (more > 0).then(|| format!("{more} more mails have failed"));
        for finding in self.0.first.iter().cloned().chain(more) {
            match failures {
                Failures::Listed => out.note(finding),
                Failures::Unexpected => out.violated(Check::MailsSent, finding),
            }
        }
    }
}
