//! Wakes a thread that polls librdkafka: it sleeps until there is an event or a request, and does not look by itself.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

/// A polling thread's wake-up, and whether a reader has requested something of it.
#[derive(Default)]
pub(crate) struct PollWaker {
    requested: AtomicBool,
    thread: OnceLock<Thread>,
}

impl PollWaker {
    /// The calling thread is the one that is woken.
    pub(crate) fn bind(&self) {
        // There is one polling thread per member; another one would wait for its timer.
        let _ = self.thread.set(thread::current());
    }

    /// Wakes the thread, or keeps its next wait from waiting. Before the thread has begun there is nothing to wake.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Wakes the thread for a request.
    pub(crate) fn request(&self) {
        self.requested.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether something was requested since the last call.
    pub(crate) fn take_request(&self) -> bool {
        self.requested.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    /// Far above what a wake-up takes.
    const WAIT: Duration = Duration::from_secs(60);

    #[test]
    fn a_request_ends_the_wait_of_the_polling_thread() {
        let waker = Arc::new(PollWaker::default());
        let (bound, is_bound) = mpsc::channel();
        let polling = {
            let waker = Arc::clone(&waker);
            thread::spawn(move || {
                waker.bind();
                bound.send(()).unwrap();
                let began = Instant::now();
                while !waker.take_request() {
                    thread::park_timeout(WAIT);
                }
                began.elapsed()
            })
        };
        is_bound.recv().unwrap();
        waker.request();
        assert!(polling.join().unwrap() < WAIT, "the wait ran its whole time");
        assert!(!waker.take_request(), "a request is taken once");
    }

    #[test]
    fn a_request_before_the_thread_waits_is_kept() {
        let waker = PollWaker::default();
        waker.bind();
        waker.wake();
        let began = Instant::now();
        thread::park_timeout(WAIT);
        assert!(began.elapsed() < WAIT);
    }
}
