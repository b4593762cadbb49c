//! The event that both sides know, and its wire form: JSON beside a CloudEvents envelope.

use async_trait::async_trait;
use inbox::{BoxError, Decode, Decoded, Envelope, Rejection, Undecodable};
use messaging::Delivered;
use serde::{Deserialize, Serialize};

/// The topic.
pub const TOPIC: &str = "parcels";
/// The event's type.
pub const MOVED: &str = "example.parcels.ParcelMoved";

/// A parcel is somewhere else now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ParcelMoved {
    /// Which parcel.
    pub parcel: String,
    /// Where it is.
    pub depot: String,
}

/// Reads the JSON.
pub struct Json;

#[async_trait]
impl Decode for Json {
    type Event = ParcelMoved;

    async fn decode(
        &self,
        _topic: &str,
        records: &[&Delivered],
    ) -> Result<Vec<Result<Decoded<ParcelMoved>, Undecodable>>, BoxError> {
        Ok(records.iter().map(|record| Ok(one(record)?)).collect())
    }
}

fn one(record: &Delivered) -> Result<Decoded<ParcelMoved>, Rejection> {
    let envelope = Envelope::from_headers(&record.headers)
        .map_err(|error| Rejection::new("no_envelope", error.to_string()))?;
    let event = serde_json::from_slice(record.value.as_deref().unwrap_or_default())
        .map_err(|error| Rejection::new("malformed", error.to_string()))?;
    Ok(Decoded::Event { envelope, event })
}
