//! Asking a registry that does not answer yet, until a deadline.

use std::time::Duration;

use backoff::Backoff;
use tokio::time::Instant;

use crate::codec::RegistryError;

/// The pauses while the registry does not answer.
const ASK_AGAIN: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Repeats `call` while the registry does not answer, until `deadline`, and logs each wait.
pub(super) async fn retry_until<T>(
    deadline: Instant,
    url: &str,
    mut call: impl AsyncFnMut() -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    let mut failures = 0;
    // The last call may be cut short; the error of the one before it is more useful.
    let mut last_error = "no answer in time".to_owned();
    loop {
        failures += 1;
        let pause = ASK_AGAIN.pause(failures);
        let Ok(outcome) = tokio::time::timeout_at(deadline, call()).await else {
            return Err(RegistryError::Unavailable { url: url.to_owned(), detail: last_error });
        };
        match outcome {
            Err(RegistryError::Unavailable { detail, .. }) if Instant::now() + pause < deadline => {
                let left_s = (deadline - Instant::now()).as_secs();
                tracing::warn!(url, detail, left_s, "the schema registry does not answer yet; trying again");
                last_error = detail;
            }
            outcome => return outcome,
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::registry::Fault;

    #[tokio::test]
    async fn a_call_that_the_deadline_cuts_short_does_not_hide_what_was_wrong() {
        let mut calls = 0;
        let deadline = Instant::now() + Duration::from_secs(1);
        let outcome: Result<(), _> = retry_until(deadline, "http://registry", async || {
            calls += 1;
            if calls > 1 {
                std::future::pending::<()>().await;
            }
            Err(Fault::Unavailable("connection refused".to_owned()).at("http://registry", ""))
        })
        .await;
        let error = outcome.unwrap_err().to_string();
        assert_eq!(error, "schema registry http://registry: connection refused");
    }
}
