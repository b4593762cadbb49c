//! The joint batch: one task per member applies what its partitions offer in one transaction (docs/adr/0015).
//!
//! ```text
//! partition   decode ─► offer ─────────► waits ────────────► applied, moved, ... ─► offer
//! joint task             takes what is offered, one transaction, answers each
//! ```
//!
//! A partition that offers alone is taken at once, by itself.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::decoded::Part;
use crate::offers::{Answer, Taken};
use crate::positions::LockedRow;
use crate::shared::Shared;

/// Runs until `stop`. A transaction in hand is finished first; what is offered then is withdrawn by whoever offered it.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = shared.offers.arrived() => {}
        }
        // Whoever was answered together offers again together.
        tokio::task::yield_now().await;
        let taken = shared.offers.take(shared.config.max_batch_records, shared.config.max_batch_bytes);
        if !taken.is_empty() {
            shared.apply_jointly(taken).await;
        }
    }
}

impl Shared {
    async fn apply_jointly(&self, taken: Vec<Taken>) {
        let (parts, answers): (Vec<Part>, Vec<_>) = taken.into_iter().unzip();
        let said: Vec<Answer> = match self.apply(&parts, LockedRow::Skip).await {
            Ok(outcomes) => {
                parts.into_iter().zip(outcomes).map(|(part, outcome)| Answer::Of(part, outcome)).collect()
            }
            Err(error) if parts.len() == 1 => vec![Answer::FailedAlone(error)],
            Err(error) => {
                tracing::warn!(partitions = parts.len(), %error, "joint batch failed; each partition is tried by itself");
                parts.iter().map(|_| Answer::Failed(error.verdict())).collect()
            }
        };
        for (said, answer) in said.into_iter().zip(answers) {
            // A worker that is gone asks for nothing any more: its partition's next owner reads the position.
            drop(answer.send(said));
        }
    }
}
