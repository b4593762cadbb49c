//! What a panic is inside a transaction: an error like any other, and the end of its connection.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::error_policy::HandlerError;

/// Runs a transaction. A panic in it unwinds through [`database::Database::transaction`], which drops the connection: nothing of
/// its transaction is kept, and no other one begins inside it.
pub(crate) fn unless_it_panics<'a, T: 'a>(
    transaction: impl Future<Output = Result<T, HandlerError>> + Send + 'a,
) -> BoxFuture<'a, Result<T, HandlerError>> {
    let caught = AssertUnwindSafe(transaction).catch_unwind();
    let outcome = caught.map(|outcome| {
        outcome.unwrap_or_else(|panic| {
            let message = panic_message(&*panic).to_owned();
            tracing::error!(message, "a unit of work panicked");
            Err(HandlerError::Panicked { message })
        })
    });
    outcome.boxed()
}

/// What a panic says.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let message = panic.downcast_ref::<&str>().copied();
    message
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
