//! What an event of 300 B costs from a record with its headers to its handler: type by header, Avro, envelope, key, dispatch.

use std::hint::black_box;

use cloudevents::Envelope;
use contracts::envelope::CONTENT_TYPE;
use contracts::order::{OrderLine, OrderPlaced};
use contracts::{AnyEvent, Cause, Codec, Event as _, Topics, TraceContext, clock};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use events::{AvroDecoder, Subscribe as _};
use futures::executor::block_on;
use inbox::{Context, Decode as _, Decoded, HandlerError, Received, Rejection, Subscriptions, UnitOfWork};
use messaging::Delivered;
use sqlx::PgConnection;

/// Records of a batch.
const RECORDS: usize = 100;
/// Lines of each order.
const LINES: usize = 14;
/// The size of a value, and by how much it may differ.
const VALUE_BYTES: usize = 300;
const TOLERANCE_BYTES: usize = 15;
const TOPIC: &str = "tidings.orders";

/// Takes what a handler gets, and does nothing with it but to look at it.
#[derive(Clone, Default)]
struct Seen {
    lines: usize,
}

impl UnitOfWork for Seen {
    type Event = AnyEvent;
    type Deps = ();

    async fn load(
        (): &Self::Deps,
        _: &mut PgConnection,
        _: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        Ok(Self::default())
    }

    async fn store(self, (): &Self::Deps, _: &mut PgConnection) -> Result<(), HandlerError> {
        Ok(())
    }
}

fn look(seen: &mut Seen, event: &OrderPlaced, _: Context<'_>) -> Result<(), Rejection> {
    seen.lines += event.lines.len();
    Ok(())
}

/// A record as order's relay publishes it, its trace included.
fn record(codec: &Codec, offset: i64) -> Delivered {
    let line = |number: i64| OrderLine {
        sku: format!("SKU-{number:05}"),
        quantity: 1 + number,
        unit_price_minor: 1_250,
    };
    let placed = OrderPlaced {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        order_id: clock::new_id(),
        sequence: 1,
        customer_id: "customer-017".to_owned(),
        lines: (0..LINES as i64).map(line).collect(),
        total_minor: 97_500,
        payment_method: "tok_visa".to_owned(),
        recipient: None,
        currency: "GBP".to_owned(),
    };
    let trace = TraceContext {
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        tracestate: None,
    };
    let cause = Cause {
        correlation_id: clock::new_id(),
        causation_id: None,
        user_id: Some("customer-017".to_owned()),
        trace,
    };
    let event = placed.into_any();
    let envelope = Envelope::of(&event, "order", &cause);
    let value = codec.encode(&event).expect("an event of ours");
    assert!(value.len().abs_diff(VALUE_BYTES) <= TOLERANCE_BYTES, "the value has {} bytes", value.len());
    Delivered {
        offset,
        key: Some(envelope.subject.clone().into_bytes()),
        value: Some(value),
        headers: envelope.to_headers(CONTENT_TYPE),
        timestamp_ms: None,
    }
}

/// As the inbox does it with a batch.
fn decode_and_dispatch(
    decoder: &AvroDecoder,
    subscriptions: &Subscriptions<Seen>,
    records: &[&Delivered],
    seen: &mut Seen,
) {
    let is_handled = |record: &&Delivered| {
        Envelope::event_type_of(&record.headers).is_none_or(|announced| {
            !decoder.is_of_another_release(announced) && subscriptions.handles(announced)
        })
    };
    let concerned: Vec<&Delivered> = records.iter().copied().filter(|record| is_handled(record)).collect();
    let decoded = block_on(decoder.decode(TOPIC, &concerned)).expect("nobody is asked");
    let now = clock::now();
    for (record, decoded) in concerned.iter().zip(decoded) {
        let Ok(Decoded::Event { envelope, event }) = decoded else { panic!("no event at {}", record.offset) };
        assert_eq!(Envelope::event_type_of(&record.headers), Some(envelope.event_type.as_str()));
        assert_eq!(record.key.as_deref(), Some(envelope.subject.as_bytes()));
        subscriptions
            .handle(seen, &event, Context { envelope: &envelope, now })
            .expect("the handler refuses nothing");
    }
}

fn events(criterion: &mut Criterion) {
    let codec = Codec::offline(Topics::default());
    let records: Vec<Delivered> = (0..RECORDS as i64).map(|offset| record(&codec, offset)).collect();
    let records: Vec<&Delivered> = records.iter().collect();
    let decoder = AvroDecoder::new(codec);
    let subscriptions = Subscriptions::new().on::<OrderPlaced>(look);
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("events", |bencher| {
        bencher.iter(|| {
            let mut seen = Seen::default();
            decode_and_dispatch(&decoder, &subscriptions, black_box(&records), &mut seen);
            assert_eq!(seen.lines, LINES * RECORDS);
        });
    });
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
