//! One conformance suite for every bus: in memory, Kafka's protocol on the embedded broker, and a real Kafka.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod harness;
mod suite;

/// Runs each behaviour of the suite against each bus.
macro_rules! conformance {
    ($($behaviour:ident)*) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                super::suite::$behaviour(&super::harness::InMemory::default()).await;
            })*
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                super::suite::$behaviour(&super::harness::Embedded::start()).await;
            })*
        }
        mod kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                match super::harness::Real::from_environment() {
                    Some(kafka) => super::suite::$behaviour(&kafka).await,
                    None => eprintln!("skipped: TIDINGS_TEST_KAFKA names no broker"),
                }
            })*
        }
    };
}

conformance! {
    a_record_arrives_as_it_was_sent
}
