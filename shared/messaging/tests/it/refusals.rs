//! What the broker's errors mean for a record, as far as only Kafka's protocol has them.

use messaging::{Acknowledged, Bus, BusError, DeliveryError, KafkaBus, KafkaConfig, Producer, Refusal};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaRespErr;
use testkit::broker::{EmbeddedBroker, all_watermarks, unique};
use tokio::time::timeout;

use crate::harness::Real;
use crate::member::LONG;
use crate::suite::{publish, record, spec, topic};

async fn send(producer: &dyn Producer, topic: &str, bytes: usize) -> Result<Acknowledged, DeliveryError> {
    let receipt = producer.send(record(topic, "key", &"x".repeat(bytes)));
    timeout(LONG, receipt).await.expect("a verdict in time")
}

fn refusal(verdict: &Result<Acknowledged, DeliveryError>) -> Option<Refusal> {
    match verdict {
        Err(DeliveryError::Refused { refusal, .. }) => Some(*refusal),
        Err(DeliveryError::Unacknowledged(_) | DeliveryError::ProducerEnded(_)) | Ok(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_client_will_not_send_is_refused_and_others_pass() {
    let bus = EmbeddedBroker::start().unwrap().bus().unwrap();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();

    let verdict = send(&*producer, &topic, 2_000_000).await;
    assert_eq!(refusal(&verdict), Some(Refusal::Size));
    let verdict = send(&*producer, "not a topic's name\0", 1).await;
    assert_eq!(refusal(&verdict), Some(Refusal::TopicName));

    send(&*producer, &topic, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_that_pass_are_retried_and_leave_one_copy() {
    use RDKafkaRespErr as Error;
    let broker = EmbeddedBroker::start().unwrap();
    let bus = broker.bus().unwrap();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    broker
        .fail_produce(vec![
            Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            Error::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            Error::RD_KAFKA_RESP_ERR__TRANSPORT,
        ])
        .unwrap();

    publish(&*producer, vec![record(&topic, "key", "a"), record(&topic, "key", "b")]).await;

    let high: i64 = all_watermarks(&*bus, &topic).await.unwrap().iter().map(|range| range.high).sum();
    assert_eq!(high, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_that_stay_are_refusals_and_those_of_the_connection_are_not() {
    use RDKafkaRespErr as Error;
    let broker = EmbeddedBroker::start().unwrap();
    let bus = broker.bus().unwrap();
    let topic = topic(&bus).await;
    for (error, expected) in [
        (Error::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Some(Refusal::Size)),
        (Error::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, Some(Refusal::Timestamp)),
        (Error::RD_KAFKA_RESP_ERR_INVALID_RECORD, Some(Refusal::Content)),
        (Error::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, Some(Refusal::Policy)),
        (Error::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT, Some(Refusal::Format)),
        (Error::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, None),
        (Error::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, None),
        (Error::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, None),
    ] {
        let producer = bus.producer().await.unwrap();
        send(&*producer, &topic, 1).await.unwrap();
        broker.fail_produce(vec![error]).unwrap();

        // An error that is none of the record's may be overcome by the client itself.
        assert_eq!(refusal(&send(&*producer, &topic, 1).await), expected, "{error:?}");
        if expected.is_some() {
            // The producer goes on.
            send(&*producer, &topic, 1).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kafka: make test-kafka"]
async fn a_topic_of_kafka_takes_no_record_above_its_own_limit() {
    let kafka = Real::from_environment();
    let topic = unique("suite");
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka.brokers()).create().unwrap();
    let narrow = NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "1000");
    let created = admin.create_topics(&[narrow], &AdminOptions::new()).await.unwrap();
    assert!(created.iter().all(Result::is_ok), "{created:?}");
    // Nothing shrinks on the way, so that the broker sees the size.
    let mut config = KafkaConfig::new(kafka.brokers());
    config.properties.insert("compression.type".into(), "none".into());
    let bus = KafkaBus::try_new(config).unwrap();
    let producer = bus.producer().await.unwrap();

    let verdict = send(&*producer, &topic, 5_000).await;
    assert_eq!(refusal(&verdict), Some(Refusal::Size));

    assert_eq!(send(&*producer, &topic, 100).await, Ok(Acknowledged { partition: 0, offset: 0 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_without_a_leader_is_told() {
    let broker = EmbeddedBroker::start().unwrap();
    let bus = broker.bus().unwrap();
    let topic = topic(&bus).await;
    let with_leader = async || {
        let partitions = bus.partitions(&topic).await.unwrap();
        partitions
            .into_iter()
            .filter(|state| state.has_leader)
            .map(|state| state.partition)
            .collect::<Vec<_>>()
    };

    broker.set_leader(&topic, 2, false).unwrap();
    assert_eq!(with_leader().await, [0, 1, 3, 4, 5]);
    broker.set_leader(&topic, 2, true).unwrap();
    assert_eq!(with_leader().await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_creates_no_topics_is_an_error_and_existing_ones_are_enough() {
    let broker = EmbeddedBroker::start().unwrap();
    // As a service in another process, which has no hold of the embedded broker.
    let bus = KafkaBus::try_new(broker.config()).unwrap();
    let wanted = [spec(&unique("suite"))];

    let answer = bus.create_topics(&wanted).await;
    assert!(matches!(answer, Err(BusError::Unavailable { .. })), "{answer:?}");

    broker.create_topics(&wanted).unwrap();
    bus.create_topics(&wanted).await.unwrap();
}
