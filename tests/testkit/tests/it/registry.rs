//! The codec and a registry: the embedded one, and the real one that `TIDINGS_TEST_REGISTRY` names.

use std::sync::Arc;
use std::time::Duration;

use apache_avro::Schema;
use apache_avro::types::{Record, Value};
use apache_avro::writer::datum::GenericDatumWriter;
use contracts::clock::{new_id, now};
use contracts::order::{CancellationReason, OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::PaymentCompleted;
use contracts::{AnyEvent, Codec, DecodeError, Event, RegistryConfig, RegistryError, Topic, Topics};
use serde_json::{Value as Json, json};
use testkit::ports::ReservedPort;
use testkit::registry::EmbeddedRegistry;

const CANCELLED: &str = include_str!("../../../../avro/order/OrderCancelled.v1.avsc");
const PLACED_V1: &str = include_str!("../../../../avro/order/OrderPlaced.v1.avsc");
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A registry, and topics of the test's own in it.
struct Ground {
    config: RegistryConfig,
    topics: Topics,
    _embedded: Option<EmbeddedRegistry>,
}

impl Ground {
    #[expect(clippy::disallowed_methods, reason = "the environment says against what the tests run")]
    async fn prepare() -> Self {
        let (url, embedded) = match std::env::var("TIDINGS_TEST_REGISTRY") {
            Ok(url) => (url, None),
            Err(_) => {
                let embedded = EmbeddedRegistry::start_anywhere().await.unwrap();
                // As real ones are by default, so that all care for compatibility is the codec's.
                let lax = json!({ "compatibility": "NONE" });
                let answer = client().put(format!("{}/config", embedded.url())).json(&lax).send().await;
                answer.unwrap().error_for_status().unwrap();
                (embedded.url(), Some(embedded))
            }
        };
        let topics = Topics::new(format!("test-{}", new_id()));
        Self { config: RegistryConfig { url, auto_register_schemas: true }, topics, _embedded: embedded }
    }

    async fn connect(&self, publishes: &[&'static str], consumes: &[&'static str]) -> Arc<Codec> {
        self.try_connect(publishes, consumes).await.unwrap()
    }

    async fn try_connect(
        &self,
        publishes: &[&'static str],
        consumes: &[&'static str],
    ) -> Result<Arc<Codec>, RegistryError> {
        Codec::connect_within(WAIT_TIMEOUT, &self.config, self.topics.clone(), publishes, consumes).await
    }

    fn subject<E: Event>(&self) -> String {
        format!("{}-{}", self.topics.name(E::TOPIC), E::TYPE)
    }

    fn orders(&self) -> String {
        self.topics.name(Topic::Orders)
    }

    async fn register(&self, subject: &str, schema: &Json) -> Result<u32, String> {
        let url = format!("{}/subjects/{subject}/versions", self.config.url);
        let body = json!({ "schema": schema.to_string() });
        let answer = client().post(url).json(&body).send().await.unwrap();
        let (status, body) = (answer.status(), answer.json::<Json>().await.unwrap());
        match body["id"].as_u64() {
            Some(id) if status.is_success() => Ok(u32::try_from(id).unwrap()),
            _ => Err(format!("{status} {body}")),
        }
    }
}

fn client() -> reqwest::Client {
    contracts::http::client().no_proxy().timeout(Duration::from_secs(10)).build().unwrap()
}

fn confirmed() -> OrderConfirmed {
    OrderConfirmed {
        event_id: new_id(),
        occurred_at: now(),
        order_id: new_id(),
        sequence: 2,
        payment_id: new_id(),
    }
}

/// A value of another producer under a schema of its own.
fn written(id: u32, schema: &Schema, value: impl Into<Value>) -> Vec<u8> {
    let body = GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(value).unwrap();
    [&[0], &id.to_be_bytes()[..], &body].concat()
}

fn with_field(schema: &str, field: Json) -> Json {
    let mut schema: Json = serde_json::from_str(schema).unwrap();
    schema["fields"].as_array_mut().unwrap().push(field);
    schema
}

#[tokio::test]
async fn what_one_service_publishes_another_reads() {
    let ground = Ground::prepare().await;
    let producer = ground.connect(&[OrderConfirmed::TYPE, OrderCancelled::TYPE], &[]).await;
    let event = confirmed().into_any();
    let value = producer.encode(&event).unwrap();
    // One that had all schemas at start-up, one that never met the type before.
    for consumes in [&[OrderConfirmed::TYPE][..], &[]] {
        let consumer = ground.connect(&[], consumes).await;
        assert_eq!(consumer.decode(&ground.orders(), Some(&value)).await.unwrap(), event);
        let error = consumer.decode(&ground.topics.name(Topic::Payments), Some(&value)).await.unwrap_err();
        assert!(matches!(error, DecodeError::WrongSubject { .. }), "{error}");
        consumer.encode(&event).unwrap_err();
    }
}

#[tokio::test]
async fn registering_again_makes_no_new_version() {
    let ground = Ground::prepare().await;
    let first = ground.connect(&[OrderConfirmed::TYPE], &[]).await;
    let again = ground.connect(&[OrderConfirmed::TYPE], &[]).await;
    let event = confirmed().into_any();
    assert_eq!(first.encode(&event).unwrap(), again.encode(&event).unwrap());
    let url = format!("{}/subjects/{}/versions", ground.config.url, ground.subject::<OrderConfirmed>());
    let versions: Vec<u32> = client().get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(versions.len(), 1);
}

#[tokio::test]
async fn the_second_version_of_order_placed_follows_the_first_under_full_transitive() {
    let ground = Ground::prepare().await;
    let first: Json = serde_json::from_str(PLACED_V1).unwrap();
    let id = ground.register(&ground.subject::<OrderPlaced>(), &first).await.unwrap();
    let level = json!({ "compatibility": "FULL_TRANSITIVE" });
    let url = format!("{}/config/{}", ground.config.url, ground.subject::<OrderPlaced>());
    client().put(url).json(&level).send().await.unwrap().error_for_status().unwrap();

    let producer = ground.connect(&[OrderPlaced::TYPE], &[]).await;
    let consumer = ground.connect(&[], &[OrderPlaced::TYPE]).await;
    let event = OrderPlaced {
        event_id: new_id(),
        occurred_at: now(),
        order_id: new_id(),
        sequence: 1,
        customer_id: "17850".to_owned(),
        lines: Vec::new(),
        total_minor: 0,
        payment_method: "tok_visa".to_owned(),
        recipient: None,
        currency: "USD".to_owned(),
    };
    let event = event.into_any();
    let value = producer.encode(&event).unwrap();
    assert_eq!(consumer.decode(&ground.orders(), Some(&value)).await.unwrap(), event);
    // What was written before there was a currency: the same bytes without it.
    let before = [&[0], &id.to_be_bytes()[..], &value[5..value.len() - "USD".len() - 1]].concat();
    assert_eq!(consumer.decode(&ground.orders(), Some(&before)).await.unwrap(), event);
}

#[tokio::test]
async fn without_the_right_to_register_a_missing_schema_refuses_the_start() {
    let mut ground = Ground::prepare().await;
    ground.config.auto_register_schemas = false;
    let error = ground.try_connect(&[OrderConfirmed::TYPE], &[]).await.unwrap_err();
    assert!(matches!(error, RegistryError::Missing { .. }), "{error}");
    ground.config.auto_register_schemas = true;
    let registered = ground.connect(&[OrderConfirmed::TYPE], &[]).await;
    ground.config.auto_register_schemas = false;
    let looked_up = ground.connect(&[OrderConfirmed::TYPE], &[]).await;
    let event = confirmed().into_any();
    assert_eq!(registered.encode(&event).unwrap(), looked_up.encode(&event).unwrap());
}

#[tokio::test]
async fn a_producer_refuses_to_start_on_an_incompatible_version() {
    let ground = Ground::prepare().await;
    let mut theirs: Json = serde_json::from_str(CANCELLED).unwrap();
    // apache-avro itself would call this fully compatible.
    theirs["fields"][1]["type"]["logicalType"] = json!("timestamp-millis");
    ground.register(&ground.subject::<OrderCancelled>(), &theirs).await.unwrap();
    let error = ground.try_connect(&[OrderCancelled::TYPE], &[]).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Incompatible { detail, .. } if detail.contains("occurred_at")),
        "{error}"
    );
}

#[tokio::test]
async fn once_we_are_registered_the_registry_refuses_what_would_break_us() {
    let ground = Ground::prepare().await;
    ground.connect(&[OrderCancelled::TYPE], &[]).await;
    let subject = ground.subject::<OrderCancelled>();
    let without_default = with_field(CANCELLED, json!({ "name": "extra", "type": "string" }));
    let refusal = ground.register(&subject, &without_default).await.unwrap_err();
    assert!(refusal.starts_with("409"), "{refusal}");
    let with_default = with_field(CANCELLED, json!({ "name": "extra", "type": "string", "default": "" }));
    ground.register(&subject, &with_default).await.unwrap();
}

#[tokio::test]
async fn a_newer_version_than_ours_is_read_and_a_newer_symbol_is_unknown() {
    let ground = Ground::prepare().await;
    let consumer = ground.connect(&[OrderCancelled::TYPE], &[OrderCancelled::TYPE]).await;
    let mut newer = with_field(CANCELLED, json!({ "name": "refunded", "type": "boolean", "default": false }));
    newer["fields"][4]["type"]["symbols"].as_array_mut().unwrap().push(json!("lost_in_transit"));
    let id = ground.register(&ground.subject::<OrderCancelled>(), &newer).await.unwrap();

    let event = OrderCancelled {
        event_id: new_id(),
        occurred_at: now(),
        order_id: new_id(),
        sequence: 2,
        reason: CancellationReason::Unknown,
        detail: Some("it is lost".to_owned()),
    };
    let schema = Schema::parse(&newer).unwrap();
    let mut record = Record::new(&schema).unwrap();
    record.put("event_id", event.event_id);
    record.put("occurred_at", Value::TimestampMicros(event.occurred_at.timestamp_micros()));
    record.put("order_id", event.order_id);
    record.put("sequence", event.sequence);
    record.put("reason", Value::Enum(5, "lost_in_transit".to_owned()));
    record.put("detail", Value::Union(1, Box::new(Value::String("it is lost".to_owned()))));
    record.put("refunded", true);
    let value = written(id, &schema, record);
    assert_eq!(consumer.decode(&ground.orders(), Some(&value)).await.unwrap(), event.into_any());
}

#[tokio::test]
async fn a_schema_id_that_nobody_registered_is_no_reason_to_wait() {
    let ground = Ground::prepare().await;
    let codec = ground.connect(&[], &[]).await;
    let error = codec.decode(&ground.orders(), Some(&[0, 0x7f, 0xff, 0xff, 0xf0, 1])).await.unwrap_err();
    assert_eq!(error, DecodeError::UnknownSchema { id: 0x7fff_fff0 });
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn schemas_of_foreign_records_are_told_apart() {
    let ground = Ground::prepare().await;
    let codec = ground.connect(&[], &[]).await;
    let subject = |name: &str| format!("{}-{name}", ground.orders());
    let mut decoded = Vec::new();
    let foreign = json!({ "type": "record", "name": "Parcel", "namespace": "else", "fields": [{ "name": "a", "type": "long" }] });
    let mut impostor: Json = serde_json::from_str(CANCELLED).unwrap();
    impostor["fields"][3]["type"] = json!("string");
    for (name, schema) in [("else.Parcel", foreign), ("text", json!("string")), ("impostor", impostor)] {
        let id = ground.register(&subject(name), &schema).await.unwrap();
        let value = [&[0], &id.to_be_bytes()[..], &[0]].concat();
        decoded.push(codec.decode(&ground.orders(), Some(&value)).await.unwrap_err());
    }
    assert!(
        matches!(&decoded[0], DecodeError::WrongSubject { found, .. } if found == "else.Parcel"),
        "{decoded:?}"
    );
    assert!(matches!(&decoded[1], DecodeError::UnreadableSchema { .. }), "{decoded:?}");
    assert!(
        matches!(&decoded[2], DecodeError::UnreadableSchema { detail, .. } if detail.contains("sequence")),
        "{decoded:?}"
    );
}

#[tokio::test]
async fn an_outage_stops_nobody_who_knows_the_schema_and_its_failures_are_forgotten() {
    let port = ReservedPort::reserve(0).unwrap();
    let registry = EmbeddedRegistry::start(port.address()).await.unwrap();
    let config = RegistryConfig { url: registry.url(), auto_register_schemas: true };
    let connect = async |publishes: &[&'static str], consumes: &[&'static str]| {
        Codec::connect_within(WAIT_TIMEOUT, &config, Topics::default(), publishes, consumes).await.unwrap()
    };
    let producer = connect(&[OrderConfirmed::TYPE], &[]).await;
    let preloaded = connect(&[], &[OrderConfirmed::TYPE]).await;
    let ignorant = connect(&[], &[]).await;
    registry.stop().await;

    let event: AnyEvent = confirmed().into_any();
    let value = producer.encode(&event).unwrap();
    assert_eq!(preloaded.decode("tidings.orders", Some(&value)).await.unwrap(), event);
    let error = ignorant.decode("tidings.orders", Some(&value)).await.unwrap_err();
    assert!(matches!(error, DecodeError::RegistryUnavailable { id: 1, .. }), "{error}");
    assert!(error.is_retryable());

    let _registry = EmbeddedRegistry::start(port.address()).await.unwrap();
    // An empty registry first: it says that there is no such id, which is not remembered either.
    let error = ignorant.decode("tidings.orders", Some(&value)).await.unwrap_err();
    assert_eq!(error, DecodeError::UnknownSchema { id: 1 });
    connect(&[OrderConfirmed::TYPE], &[]).await;
    assert_eq!(ignorant.decode("tidings.orders", Some(&value)).await.unwrap(), event);
}

#[tokio::test]
async fn a_service_waits_for_a_registry_that_starts_later() {
    let port = ReservedPort::reserve(0).unwrap();
    let listener = tokio::net::TcpListener::bind(port.address()).await.unwrap();
    let config = RegistryConfig { url: format!("http://{}", port.address()), auto_register_schemas: true };
    let connecting =
        Codec::connect_within(WAIT_TIMEOUT, &config, Topics::default(), &[PaymentCompleted::TYPE], &[]);
    let starting = async {
        // The first attempt gets through to a server that hangs up.
        drop(listener.accept().await.unwrap());
        drop(listener);
        EmbeddedRegistry::start(port.address()).await.unwrap()
    };
    let (codec, _registry) = tokio::join!(connecting, starting);
    codec.unwrap();
}

#[tokio::test]
async fn waiting_for_a_missing_registry_ends() {
    let nobody = ReservedPort::reserve(0).unwrap();
    let config = RegistryConfig { url: format!("http://{}", nobody.address()), auto_register_schemas: true };
    let connecting = Codec::connect_within(
        Duration::from_secs(3),
        &config,
        Topics::default(),
        &[PaymentCompleted::TYPE],
        &[],
    );
    let error = connecting.await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unavailable { detail, .. } if detail.contains("refused")),
        "{error}"
    );
}

#[tokio::test]
async fn a_registry_that_accepts_and_never_answers_is_given_up_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = RegistryConfig {
        url: format!("http://{}", listener.local_addr().unwrap()),
        auto_register_schemas: true,
    };
    let connect = async |timeout_ms, consumes: &[&'static str]| {
        let timeout = Duration::from_millis(timeout_ms);
        Codec::connect_within(timeout, &config, Topics::default(), &[], consumes).await
    };
    let error = connect(300, &[OrderConfirmed::TYPE]).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error}");
    // Nothing to preload: nothing asked at start-up. The bound is then that of a single call.
    let codec = connect(300, &[]).await.unwrap();
    let decoding = codec.decode("tidings.orders", Some(&[0, 0, 0, 0, 1, 1]));
    let error = tokio::time::timeout(WAIT_TIMEOUT, decoding).await.unwrap().unwrap_err();
    assert!(matches!(error, DecodeError::RegistryUnavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_wrong_base_url_is_not_taken_for_a_missing_schema() {
    let registry = EmbeddedRegistry::start_anywhere().await.unwrap();
    let url = format!("{}/elsewhere", registry.url());
    let config = RegistryConfig { url, auto_register_schemas: false };
    let codec = Codec::connect_within(WAIT_TIMEOUT, &config, Topics::default(), &[], &[]).await.unwrap();
    let error = codec.decode("tidings.orders", Some(&[0, 0, 0, 0, 1, 1])).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}
