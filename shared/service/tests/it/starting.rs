//! What a service waits for when it starts.

use crate::stack::Stack;

#[tokio::test]
async fn everything_that_is_missing_at_the_start_is_waited_for_at_the_same_time() {
    let stack = Stack::start().await;
    let unused = "127.0.0.1:9";
    let output = stack.run(
        "run",
        &[
            ("TIDINGS_DATABASE__URL", &format!("postgres://{unused}/x")),
            ("TIDINGS_KAFKA__BOOTSTRAP_SERVERS", unused),
            ("TIDINGS_KAFKA__REQUEST_TIMEOUT_MS", "1000"),
            ("TIDINGS_REGISTRY__URL", &format!("http://{unused}")),
            ("TIDINGS_LIFECYCLE__START_TIMEOUT_MS", "8000"),
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    let log = [output.stdout, output.stderr].concat();
    let log = String::from_utf8_lossy(&log);
    for missing in
        ["waiting for the database", "waiting for the broker", "the schema registry does not answer yet"]
    {
        assert!(log.contains(missing), "{missing}: {log}");
    }
}
