//! Waiting for a condition with a bound, instead of sleeping and hoping.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

/// Polls `probe` until it gives `Ok`, at most `timeout`; panics with the last thing seen otherwise.
///
/// # Panics
/// When the condition does not hold in time.
#[expect(clippy::panic, reason = "a test's assertion")]
pub async fn eventually<T, E: Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if tokio::time::Instant::now() >= deadline => {
                panic!("{what}: not within {timeout:?}; last seen: {seen:?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
