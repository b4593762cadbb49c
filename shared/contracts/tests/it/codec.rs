//! Bytes to events and back, without a registry: what is no valid event is a typed error.

use contracts::{AnyEvent, Codec, DecodeError, Topics};
use tokio::runtime::{Builder, Runtime};

use crate::samples;

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn topic_of(codec: &Codec, event: &AnyEvent) -> String {
    codec.topics().name(event.topic())
}

fn decode(codec: &Codec, topic: &str, value: &[u8]) -> Result<AnyEvent, DecodeError> {
    runtime().block_on(codec.decode(topic, Some(value)))
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
fn a_value_that_is_cut_off_anywhere_is_truncated() {
    let codec = Codec::offline(Topics::default());
    for event in samples::all() {
        let value = codec.encode(&event).unwrap();
        let topic = topic_of(&codec, &event);
        for length in 0..value.len() {
            let error = decode(&codec, &topic, &value[..length]).unwrap_err();
            let expected = match length {
                0 => matches!(error, DecodeError::Empty),
                1..5 => matches!(error, DecodeError::HeaderTruncated { .. }),
                _ => matches!(error, DecodeError::Truncated { .. }),
            };
            assert!(expected, "{} cut at {length} of {}: {error:?}", event.event_type(), value.len());
            assert!(!error.is_retryable());
        }
    }
}
