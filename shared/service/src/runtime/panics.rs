//! A panic in a part of the service, as an error of that part.

use std::panic::AssertUnwindSafe;

use anyhow::anyhow;
use futures::FutureExt as _;
use futures::future::BoxFuture;

/// Runs `work`. That it panicked is an error with `name`; what the panic says is in the log, by the panic hook.
pub(super) fn caught<'a, T: 'a>(
    name: &'static str,
    work: impl Future<Output = anyhow::Result<T>> + Send + 'a,
) -> BoxFuture<'a, anyhow::Result<T>> {
    let outcome = AssertUnwindSafe(work).catch_unwind();
    outcome
        .map(move |outcome| {
            outcome.unwrap_or_else(|_| Err(anyhow!("{name} panicked; the log above says where")))
        })
        .boxed()
}
