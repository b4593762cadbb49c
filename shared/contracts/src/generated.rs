//! Rust types of the newest version of every schema in `avro/`, and all schemas as text.
// Generated from avro/ by `make generate`; edits are overwritten.

pub mod order;
pub mod payment;
pub mod reservation;
pub mod stock;

use std::io::Read;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::topics::Topic;

/// One integration event: a fact in the past tense, published by the service that owns its aggregate.
pub trait Event: Sized + Send + Sync + 'static {
    /// The record's full name, such as `tidings.order.OrderPlaced`; the header `ce_type`.
    const TYPE: &'static str;
    /// The topic that carries it.
    const TOPIC: Topic;

    /// The event's id, a UUIDv7; consumers apply each id once.
    fn event_id(&self) -> Uuid;
    /// When the fact happened.
    fn occurred_at(&self) -> DateTime<Utc>;
    /// The record's key: the aggregate's id as text.
    fn key(&self) -> String;
    /// 1, 2, 3, ... within topic and key.
    fn sequence(&self) -> i64;
    /// This event among all others.
    fn into_any(self) -> AnyEvent;
    /// This event, if `any` is one.
    fn from_any(any: &AnyEvent) -> Option<&Self>;
}

/// A schema as it stands in `avro/`.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) event_type: &'static str,
    pub(crate) version: u32,
    pub(crate) topic: Topic,
    pub(crate) text: &'static str,
}

/// Any integration event of the system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum AnyEvent {
    /// `tidings.order.OrderCancelled`
    OrderCancelled(order::OrderCancelled),
    /// `tidings.order.OrderConfirmed`
    OrderConfirmed(order::OrderConfirmed),
    /// `tidings.order.OrderPlaced`
    OrderPlaced(order::OrderPlaced),
    /// `tidings.payment.PaymentCompleted`
    PaymentCompleted(payment::PaymentCompleted),
    /// `tidings.payment.PaymentDeclined`
    PaymentDeclined(payment::PaymentDeclined),
    /// `tidings.payment.PaymentRefunded`
    PaymentRefunded(payment::PaymentRefunded),
    /// `tidings.reservation.StockRejected`
    StockRejected(reservation::StockRejected),
    /// `tidings.reservation.StockReleased`
    StockReleased(reservation::StockReleased),
    /// `tidings.reservation.StockReserved`
    StockReserved(reservation::StockReserved),
    /// `tidings.stock.StockLevelLow`
    StockLevelLow(stock::StockLevelLow),
    /// `tidings.stock.StockLevelRestored`
    StockLevelRestored(stock::StockLevelRestored),
    /// `tidings.stock.StockReplenished`
    StockReplenished(stock::StockReplenished),
}

impl AnyEvent {
    /// The event's id.
    #[must_use]
    pub fn event_id(&self) -> Uuid {
        match self {
            Self::OrderCancelled(event) => event.event_id(),
            Self::OrderConfirmed(event) => event.event_id(),
            Self::OrderPlaced(event) => event.event_id(),
            Self::PaymentCompleted(event) => event.event_id(),
            Self::PaymentDeclined(event) => event.event_id(),
            Self::PaymentRefunded(event) => event.event_id(),
            Self::StockRejected(event) => event.event_id(),
            Self::StockReleased(event) => event.event_id(),
            Self::StockReserved(event) => event.event_id(),
            Self::StockLevelLow(event) => event.event_id(),
            Self::StockLevelRestored(event) => event.event_id(),
            Self::StockReplenished(event) => event.event_id(),
        }
    }

    /// When the fact happened.
    #[must_use]
    pub fn occurred_at(&self) -> DateTime<Utc> {
        match self {
            Self::OrderCancelled(event) => event.occurred_at(),
            Self::OrderConfirmed(event) => event.occurred_at(),
            Self::OrderPlaced(event) => event.occurred_at(),
            Self::PaymentCompleted(event) => event.occurred_at(),
            Self::PaymentDeclined(event) => event.occurred_at(),
            Self::PaymentRefunded(event) => event.occurred_at(),
            Self::StockRejected(event) => event.occurred_at(),
            Self::StockReleased(event) => event.occurred_at(),
            Self::StockReserved(event) => event.occurred_at(),
            Self::StockLevelLow(event) => event.occurred_at(),
            Self::StockLevelRestored(event) => event.occurred_at(),
            Self::StockReplenished(event) => event.occurred_at(),
        }
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::OrderCancelled(event) => event.key(),
            Self::OrderConfirmed(event) => event.key(),
            Self::OrderPlaced(event) => event.key(),
            Self::PaymentCompleted(event) => event.key(),
            Self::PaymentDeclined(event) => event.key(),
            Self::PaymentRefunded(event) => event.key(),
            Self::StockRejected(event) => event.key(),
            Self::StockReleased(event) => event.key(),
            Self::StockReserved(event) => event.key(),
            Self::StockLevelLow(event) => event.key(),
            Self::StockLevelRestored(event) => event.key(),
            Self::StockReplenished(event) => event.key(),
        }
    }

    /// 1, 2, 3, ... within topic and key.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        match self {
            Self::OrderCancelled(event) => event.sequence(),
            Self::OrderConfirmed(event) => event.sequence(),
            Self::OrderPlaced(event) => event.sequence(),
            Self::PaymentCompleted(event) => event.sequence(),
            Self::PaymentDeclined(event) => event.sequence(),
            Self::PaymentRefunded(event) => event.sequence(),
            Self::StockRejected(event) => event.sequence(),
            Self::StockReleased(event) => event.sequence(),
            Self::StockReserved(event) => event.sequence(),
            Self::StockLevelLow(event) => event.sequence(),
            Self::StockLevelRestored(event) => event.sequence(),
            Self::StockReplenished(event) => event.sequence(),
        }
    }

    /// The record's full name.
    #[must_use]
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::OrderCancelled(_) => order::OrderCancelled::TYPE,
            Self::OrderConfirmed(_) => order::OrderConfirmed::TYPE,
            Self::OrderPlaced(_) => order::OrderPlaced::TYPE,
            Self::PaymentCompleted(_) => payment::PaymentCompleted::TYPE,
            Self::PaymentDeclined(_) => payment::PaymentDeclined::TYPE,
            Self::PaymentRefunded(_) => payment::PaymentRefunded::TYPE,
            Self::StockRejected(_) => reservation::StockRejected::TYPE,
            Self::StockReleased(_) => reservation::StockReleased::TYPE,
            Self::StockReserved(_) => reservation::StockReserved::TYPE,
            Self::StockLevelLow(_) => stock::StockLevelLow::TYPE,
            Self::StockLevelRestored(_) => stock::StockLevelRestored::TYPE,
            Self::StockReplenished(_) => stock::StockReplenished::TYPE,
        }
    }

    /// The topic that carries it.
    #[must_use]
    pub const fn topic(&self) -> Topic {
        match self {
            Self::OrderCancelled(_) => order::OrderCancelled::TOPIC,
            Self::OrderConfirmed(_) => order::OrderConfirmed::TOPIC,
            Self::OrderPlaced(_) => order::OrderPlaced::TOPIC,
            Self::PaymentCompleted(_) => payment::PaymentCompleted::TOPIC,
            Self::PaymentDeclined(_) => payment::PaymentDeclined::TOPIC,
            Self::PaymentRefunded(_) => payment::PaymentRefunded::TOPIC,
            Self::StockRejected(_) => reservation::StockRejected::TOPIC,
            Self::StockReleased(_) => reservation::StockReleased::TOPIC,
            Self::StockReserved(_) => reservation::StockReserved::TOPIC,
            Self::StockLevelLow(_) => stock::StockLevelLow::TOPIC,
            Self::StockLevelRestored(_) => stock::StockLevelRestored::TOPIC,
            Self::StockReplenished(_) => stock::StockReplenished::TOPIC,
        }
    }

    /// The `order_id` of an event whose key it is.
    pub fn order_id(&self) -> Option<Uuid> {
        match self {
            Self::OrderCancelled(event) => Some(event.order_id),
            Self::OrderConfirmed(event) => Some(event.order_id),
            Self::OrderPlaced(event) => Some(event.order_id),
            Self::PaymentCompleted(event) => Some(event.order_id),
            Self::PaymentDeclined(event) => Some(event.order_id),
            Self::PaymentRefunded(event) => Some(event.order_id),
            Self::StockRejected(event) => Some(event.order_id),
            Self::StockReleased(event) => Some(event.order_id),
            Self::StockReserved(event) => Some(event.order_id),
            _ => None,
        }
    }

    /// The `sku` of an event whose key it is.
    pub fn sku(&self) -> Option<&str> {
        match self {
            Self::StockLevelLow(event) => Some(&event.sku),
            Self::StockLevelRestored(event) => Some(&event.sku),
            Self::StockReplenished(event) => Some(&event.sku),
            _ => None,
        }
    }

    /// The event of this type that an Avro value, resolved to the type's newest schema, holds; `None` when the
    /// type is not one of ours.
    pub(crate) fn from_avro(event_type: &str, value: &Value) -> Option<Result<Self, apache_avro::Error>> {
        match event_type {
            order::OrderCancelled::TYPE => Some(apache_avro::from_value(value).map(Self::OrderCancelled)),
            order::OrderConfirmed::TYPE => Some(apache_avro::from_value(value).map(Self::OrderConfirmed)),
            order::OrderPlaced::TYPE => Some(apache_avro::from_value(value).map(Self::OrderPlaced)),
            payment::PaymentCompleted::TYPE => {
                Some(apache_avro::from_value(value).map(Self::PaymentCompleted))
            }
            payment::PaymentDeclined::TYPE => Some(apache_avro::from_value(value).map(Self::PaymentDeclined)),
            payment::PaymentRefunded::TYPE => Some(apache_avro::from_value(value).map(Self::PaymentRefunded)),
            reservation::StockRejected::TYPE => Some(apache_avro::from_value(value).map(Self::StockRejected)),
            reservation::StockReleased::TYPE => Some(apache_avro::from_value(value).map(Self::StockReleased)),
            reservation::StockReserved::TYPE => Some(apache_avro::from_value(value).map(Self::StockReserved)),
            stock::StockLevelLow::TYPE => Some(apache_avro::from_value(value).map(Self::StockLevelLow)),
            stock::StockLevelRestored::TYPE => {
                Some(apache_avro::from_value(value).map(Self::StockLevelRestored))
            }
            stock::StockReplenished::TYPE => Some(apache_avro::from_value(value).map(Self::StockReplenished)),
            _ => None,
        }
    }

    /// The event of this type that these bytes hold, which were written with the type's newest schema; `None` when the
    /// type is not one of ours.
    pub(crate) fn from_bytes(
        event_type: &str,
        reader: &GenericDatumReader<'_>,
        bytes: &mut impl Read,
    ) -> Option<Result<Self, apache_avro::Error>> {
        match event_type {
            order::OrderCancelled::TYPE => Some(reader.read_deser(bytes).map(Self::OrderCancelled)),
            order::OrderConfirmed::TYPE => Some(reader.read_deser(bytes).map(Self::OrderConfirmed)),
            order::OrderPlaced::TYPE => Some(reader.read_deser(bytes).map(Self::OrderPlaced)),
            payment::PaymentCompleted::TYPE => Some(reader.read_deser(bytes).map(Self::PaymentCompleted)),
            payment::PaymentDeclined::TYPE => Some(reader.read_deser(bytes).map(Self::PaymentDeclined)),
            payment::PaymentRefunded::TYPE => Some(reader.read_deser(bytes).map(Self::PaymentRefunded)),
            reservation::StockRejected::TYPE => Some(reader.read_deser(bytes).map(Self::StockRejected)),
            reservation::StockReleased::TYPE => Some(reader.read_deser(bytes).map(Self::StockReleased)),
            reservation::StockReserved::TYPE => Some(reader.read_deser(bytes).map(Self::StockReserved)),
            stock::StockLevelLow::TYPE => Some(reader.read_deser(bytes).map(Self::StockLevelLow)),
            stock::StockLevelRestored::TYPE => Some(reader.read_deser(bytes).map(Self::StockLevelRestored)),
            stock::StockReplenished::TYPE => Some(reader.read_deser(bytes).map(Self::StockReplenished)),
            _ => None,
        }
    }
}

/// Every version of every schema, oldest first within an event.
pub(crate) const SOURCES: &[Source] = &[
    Source {
        event_type: order::OrderCancelled::TYPE,
        version: 1,
        topic: order::OrderCancelled::TOPIC,
        text: include_str!("../../../avro/order/OrderCancelled.v1.avsc"),
    },
    Source {
        event_type: order::OrderConfirmed::TYPE,
        version: 1,
        topic: order::OrderConfirmed::TOPIC,
        text: include_str!("../../../avro/order/OrderConfirmed.v1.avsc"),
    },
    Source {
        event_type: order::OrderPlaced::TYPE,
        version: 1,
        topic: order::OrderPlaced::TOPIC,
        text: include_str!("../../../avro/order/OrderPlaced.v1.avsc"),
    },
    Source {
        event_type: order::OrderPlaced::TYPE,
        version: 2,
        topic: order::OrderPlaced::TOPIC,
        text: include_str!("../../../avro/order/OrderPlaced.v2.avsc"),
    },
    Source {
        event_type: payment::PaymentCompleted::TYPE,
        version: 1,
        topic: payment::PaymentCompleted::TOPIC,
        text: include_str!("../../../avro/payment/PaymentCompleted.v1.avsc"),
    },
    Source {
        event_type: payment::PaymentDeclined::TYPE,
        version: 1,
        topic: payment::PaymentDeclined::TOPIC,
        text: include_str!("../../../avro/payment/PaymentDeclined.v1.avsc"),
    },
    Source {
        event_type: payment::PaymentRefunded::TYPE,
        version: 1,
        topic: payment::PaymentRefunded::TOPIC,
        text: include_str!("../../../avro/payment/PaymentRefunded.v1.avsc"),
    },
    Source {
        event_type: reservation::StockRejected::TYPE,
        version: 1,
        topic: reservation::StockRejected::TOPIC,
        text: include_str!("../../../avro/reservation/StockRejected.v1.avsc"),
    },
    Source {
        event_type: reservation::StockReleased::TYPE,
        version: 1,
        topic: reservation::StockReleased::TOPIC,
        text: include_str!("../../../avro/reservation/StockReleased.v1.avsc"),
    },
    Source {
        event_type: reservation::StockReserved::TYPE,
        version: 1,
        topic: reservation::StockReserved::TOPIC,
        text: include_str!("../../../avro/reservation/StockReserved.v1.avsc"),
    },
    Source {
        event_type: stock::StockLevelLow::TYPE,
        version: 1,
        topic: stock::StockLevelLow::TOPIC,
        text: include_str!("../../../avro/stock/StockLevelLow.v1.avsc"),
    },
    Source {
        event_type: stock::StockLevelRestored::TYPE,
        version: 1,
        topic: stock::StockLevelRestored::TOPIC,
        text: include_str!("../../../avro/stock/StockLevelRestored.v1.avsc"),
    },
    Source {
        event_type: stock::StockReplenished::TYPE,
        version: 1,
        topic: stock::StockReplenished::TOPIC,
        text: include_str!("../../../avro/stock/StockReplenished.v1.avsc"),
    },
];
