//! Bytes to events and back, without a registry: what is no valid event is a typed error.

use std::path::Path;

use contracts::{AnyEvent, Codec, DecodeError, EncodeError, RegistryConfig, RegistryError, Topic, Topics};
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::runtime::{Builder, Runtime};

use crate::samples;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn topic_of(codec: &Codec, event: &AnyEvent) -> String {
    codec.topics().name(event.topic())
}

fn decode(codec: &Codec, topic: &str, value: &[u8]) -> Result<AnyEvent, DecodeError> {
    runtime().block_on(codec.decode(topic, Some(value)))
}

/// Every golden event in wire format, with its topic. The offline codec counts ids by folder, event and version.
fn goldens() -> Vec<(String, Vec<u8>)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../avro/golden");
    let mut goldens = Vec::new();
    for (folder, topic) in [
        ("order", Topic::Orders),
        ("payment", Topic::Payments),
        ("reservation", Topic::Reservations),
        ("stock", Topic::Stock),
    ] {
        let folder = std::fs::read_dir(golden.join(folder)).unwrap();
        let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "hex"));
        files.sort();
        for file in files {
            let id = u32::try_from(goldens.len() + 1).unwrap();
            let text = std::fs::read_to_string(file).unwrap();
            let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
            let mut value = header(id);
            for pair in digits.chunks(2) {
                value.push(u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap());
            }
            goldens.push((Topics::default().name(topic), value));
        }
    }
    goldens
}

fn header(id: u32) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..]].concat()
}

/// Avro's long: zigzag, then seven bits a byte.
fn long(n: i64) -> Vec<u8> {
    let mut rest = n.cast_unsigned() << 1 ^ (n >> 63).cast_unsigned();
    let mut bytes = Vec::new();
    while rest > 0x7f {
        bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

#[test]
fn every_event_survives_encoding_and_decoding() {
    let codec = Codec::offline(Topics::new("shop"));
    for event in samples::all() {
        let value = codec.encode(&event).unwrap();
        assert_eq!(value[0], 0);
        assert_eq!(decode(&codec, &topic_of(&codec, &event), &value).unwrap(), event);
    }
}

#[test]
fn every_version_ever_published_still_decodes() {
    let codec = Codec::offline(Topics::default());
    let goldens = goldens();
    assert_eq!(goldens.len(), 13);
    for (topic, value) in &goldens {
        decode(&codec, topic, value).unwrap();
    }
    // The first version of OrderPlaced named no currency.
    let currencies: Vec<String> = goldens
        .iter()
        .filter_map(|(topic, value)| match decode(&codec, topic, value).unwrap() {
            AnyEvent::OrderPlaced(event) => Some(event.currency),
            _ => None,
        })
        .collect();
    assert_eq!(currencies, ["USD", "GBP"]);
}

#[test]
fn a_value_that_is_cut_off_anywhere_is_truncated() {
    let codec = Codec::offline(Topics::default());
    let encoded =
        samples::all().into_iter().map(|event| (topic_of(&codec, &event), codec.encode(&event).unwrap()));
    for (topic, value) in encoded.chain(goldens()) {
        for length in 0..value.len() {
            let error = decode(&codec, &topic, &value[..length]).unwrap_err();
            let expected = match length {
                0 => matches!(error, DecodeError::Empty),
                1..5 => matches!(error, DecodeError::HeaderTruncated { .. }),
                _ => matches!(error, DecodeError::Truncated { .. }),
            };
            assert!(expected, "{value:02x?} cut at {length}: {error:?}");
            assert!(!error.is_retryable());
        }
    }
}

#[test]
fn what_is_no_event_is_told_apart() {
    let codec = Codec::offline(Topics::default());
    let event = samples::order_cancelled(None);
    let value = codec.encode(&AnyEvent::OrderCancelled(event)).unwrap();
    let fails =
        |topic: &str, value: Option<&[u8]>| runtime().block_on(codec.decode(topic, value)).unwrap_err();
    let event_type = "tidings.order.OrderCancelled".to_owned();

    assert_eq!(fails("tidings.orders", None), DecodeError::Empty);
    assert_eq!(fails("tidings.orders", Some(&[])), DecodeError::Empty);
    let other_magic = [&b"{"[..], &value[1..]].concat();
    for other in [&b"{}"[..], &other_magic] {
        assert_eq!(fails("tidings.orders", Some(other)), DecodeError::WrongMagic { found: b'{' });
    }
    assert_eq!(
        fails("tidings.orders", Some(&header(0xdead_beef))),
        DecodeError::UnknownSchema { id: 0xdead_beef }
    );
    let leftover = [&value[..], b"!!"].concat();
    let expected = DecodeError::Leftover { event_type: event_type.clone(), count: 2 };
    assert_eq!(fails("tidings.orders", Some(&leftover)), expected);
    for topic in ["tidings.payments", "shop.orders", "tidings.orders.dead", ""] {
        let expected = DecodeError::WrongSubject { found: event_type.clone(), topic: topic.to_owned() };
        assert_eq!(fails(topic, Some(&value)), expected);
    }
}

#[test]
fn a_huge_length_announced_in_few_bytes_allocates_nothing() {
    let codec = Codec::offline(Topics::default());
    for (id, announced) in (1..=12).flat_map(|id| [(id, 2 << 30), (id, 5 << 20)]) {
        let value = [header(id), long(announced)].concat();
        assert!(value.len() <= 10);
        for topic in Topic::ALL {
            let topic = Topics::default().name(topic);
            match decode(&codec, &topic, &value).unwrap_err() {
                DecodeError::WrongSubject { .. } => {}
                DecodeError::Malformed { detail, .. } => assert!(detail.contains("allocate"), "{detail}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn an_array_of_absurdly_many_lines_is_refused_before_it_is_allocated() {
    let codec = Codec::offline(Topics::default());
    let (topic, golden) = goldens().into_iter().find(|(_, value)| value[4] == 3).unwrap();
    let lines = golden.windows(2).position(|pair| pair == [b'5', b'0']).unwrap() + 2;
    for count in [1 << 20, 1 << 40, i64::MAX, i64::MIN] {
        let value = [&golden[..lines], &long(count), &long(0)].concat();
        let error = decode(&codec, &topic, &value).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { .. }), "{count}: {error:?}");
    }
}

#[test]
fn a_time_beyond_the_calendar_is_malformed() {
    let codec = Codec::offline(Topics::default());
    for micros in [i64::MAX, i64::MIN] {
        let id = samples::id(1).to_string();
        let value =
            [header(1), long(36), id.clone().into_bytes(), long(micros), long(36), id.into_bytes()].concat();
        let value = [value, long(1), vec![0, 0]].concat();
        let error = decode(&codec, "tidings.orders", &value).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { .. }), "{error:?}");
    }
}

#[test]
fn what_a_service_did_not_register_it_can_not_publish() {
    let config = RegistryConfig { url: "http://127.0.0.1:9".to_owned(), auto_register_schemas: true };
    let connecting = Codec::connect(&config, Topics::default(), &[], &[]);
    let codec = runtime().block_on(connecting).unwrap();
    for event in samples::all() {
        let error = codec.encode(&event).unwrap_err();
        assert!(
            matches!(error, EncodeError::NotRegistered { event_type } if event_type == event.event_type())
        );
    }
    let connecting = Codec::connect(&config, Topics::default(), &["tidings.order.OrderForgotten"], &[]);
    let error = runtime().block_on(connecting).unwrap_err();
    assert!(matches!(error, RegistryError::UnknownEvent { event_type: "tidings.order.OrderForgotten" }));
}

#[test]
fn an_event_that_is_printed_does_not_tell_whom_it_is_about() {
    let event = samples::order_placed();
    let shown = format!("{event:?} {:#?}", AnyEvent::OrderPlaced(event.clone()));
    for personal in ["Zoë", "zoe@", "High Street", "Leeds", "LS1", "GB\""] {
        assert!(!shown.replace("currency: \"GBP\"", "").contains(personal), "{personal}: {shown}");
    }
    assert!(shown.contains("Recipient { .. }"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_at_all_are_an_event_or_a_typed_error(mut bytes in any::<Vec<u8>>(), id in 0_u32..14) {
        let codec = Codec::offline(Topics::default());
        let _ = decode(&codec, "tidings.orders", &bytes);
        bytes.splice(0..0, header(id));
        for topic in Topic::ALL {
            if let Err(error) = decode(&codec, &Topics::default().name(topic), &bytes) {
                prop_assert!(!error.is_retryable());
                prop_assert!(error.to_string().len() < 1_000);
            }
        }
    }

    #[test]
    fn a_golden_event_with_flipped_bits_is_an_event_or_a_typed_error(
        which in any::<Index>(),
        flips in prop::collection::vec((any::<Index>(), 0_u8..8), 1..4),
        splice in prop::option::of((any::<Index>(), any::<[u8; 3]>())),
    ) {
        let codec = Codec::offline(Topics::default());
        let (topic, mut value) = which.get(&goldens()).clone();
        for (place, bit) in flips {
            let place = place.index(value.len());
            value[place] ^= 1 << bit;
        }
        if let Some((place, bytes)) = splice {
            let place = place.index(value.len());
            value.splice(place..place, bytes);
        }
        if let Ok(event) = decode(&codec, &topic, &value) {
            // What was read can be written again.
            let again = codec.encode(&event).unwrap();
            prop_assert_eq!(decode(&codec, &topic, &again).unwrap(), event);
        }
    }

    #[test]
    fn any_order_survives_encoding_and_decoding(
        texts in any::<[String; 6]>(),
        numbers in any::<[i64; 3]>(),
        micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000,
        known in any::<bool>(),
        lines in 0_usize..50,
    ) {
        let codec = Codec::offline(Topics::default());
        let mut event = samples::order_placed();
        let [sku, customer_id, payment_method, name, city, currency] = texts;
        event.occurred_at = chrono::DateTime::from_timestamp_micros(micros).unwrap();
        event.lines[0] = contracts::order::OrderLine { sku, quantity: numbers[0], unit_price_minor: numbers[1] };
        event.lines = event.lines.into_iter().cycle().take(lines).collect();
        (event.total_minor, event.customer_id, event.payment_method) = (numbers[2], customer_id, payment_method);
        event.currency = currency;
        let mut recipient = event.recipient.take().unwrap();
        (recipient.name, recipient.address.city) = (name, city);
        event.recipient = known.then_some(recipient);
        let event = AnyEvent::OrderPlaced(event);
        let value = codec.encode(&event).unwrap();
        prop_assert_eq!(decode(&codec, "tidings.orders", &value).unwrap(), event);
    }
}
