//! What waited for a release that knows its type is redriven by the first one that does, without an operator (docs/adr/0030).
//!
//! The crash points are those of any redrive. Between two letters of a key, the audit's last entry of it shows that a release
//! was at work, and the next look goes on there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::letters::{self, Letter};
use super::{By, Shared};
use crate::dead_letters::BEHIND;
use crate::decoding::UNKNOWN_EVENT_TYPE;
use crate::error_policy::HandlerError;

/// How often it is looked for them: an older replica may write more as long as it runs.
const EVERY: Duration = Duration::from_secs(10);

/// Looks until `shutdown`.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    let known = shared.applier.effect.known_types().into_iter().collect();
    let looking = async {
        loop {
            if let Err(error) = redrive(&shared, &known).await {
                tracing::warn!(%error, "redrive of newly known types failed, will be retried");
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = looking => {}
    }
}

async fn redrive(shared: &Shared, known: &BTreeSet<String>) -> Result<(), HandlerError> {
    let types: Vec<&str> = known.iter().map(String::as_str).collect();
    let mut after = 0;
    loop {
        let heads = letters::heads_for_release(&shared.applier.database, after, &types).await?;
        let Some(last) = heads.last() else { return Ok(()) };
        after = *last;
        for id in heads {
            shared.redrive_key(id, By::Release(known)).await?;
        }
    }
}

/// Whether only a release has to decide about this letter, the oldest of its key.
pub(super) fn may_redrive(letter: &Letter, known: &BTreeSet<String>) -> bool {
    let is_known = || letter.event_type.as_deref().is_some_and(|event_type| known.contains(event_type));
    letter.reason == BEHIND || waited(letter) && is_known()
}

/// Whether the letter waited for a release that knows its type.
pub(super) fn waited(letter: &Letter) -> bool {
    letter.reason == UNKNOWN_EVENT_TYPE
}
