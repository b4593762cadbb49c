//! Brokers for tests and the demo: the embedded mock cluster, or a real Kafka named by the environment.
