//! Rust types of the newest version of every schema in `avro/`.

pub mod order;
pub mod payment;
pub mod reservation;
pub mod stock;

/// Any integration event of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyEvent {
    /// `tidings.order.OrderPlaced`
    OrderPlaced(order::OrderPlaced),
    /// `tidings.order.OrderConfirmed`
    OrderConfirmed(order::OrderConfirmed),
    /// `tidings.order.OrderCancelled`
    OrderCancelled(order::OrderCancelled),
    /// `tidings.reservation.StockReserved`
    StockReserved(reservation::StockReserved),
    /// `tidings.reservation.StockReleased`
    StockReleased(reservation::StockReleased),
    /// `tidings.reservation.StockRejected`
    StockRejected(reservation::StockRejected),
    /// `tidings.payment.PaymentCompleted`
    PaymentCompleted(payment::PaymentCompleted),
    /// `tidings.payment.PaymentDeclined`
    PaymentDeclined(payment::PaymentDeclined),
    /// `tidings.payment.PaymentRefunded`
    PaymentRefunded(payment::PaymentRefunded),
    /// `tidings.stock.StockReplenished`
    StockReplenished(stock::StockReplenished),
    /// `tidings.stock.StockLevelLow`
    StockLevelLow(stock::StockLevelLow),
}

impl AnyEvent {
    /// The event's id.
    #[must_use]
    pub fn event_id(&self) -> uuid::Uuid {
        use crate::event::Event;
        match self {
            Self::OrderPlaced(event) => event.event_id(),
            Self::OrderConfirmed(event) => event.event_id(),
            Self::OrderCancelled(event) => event.event_id(),
            Self::StockReserved(event) => event.event_id(),
            Self::StockReleased(event) => event.event_id(),
            Self::StockRejected(event) => event.event_id(),
            Self::PaymentCompleted(event) => event.event_id(),
            Self::PaymentDeclined(event) => event.event_id(),
            Self::PaymentRefunded(event) => event.event_id(),
            Self::StockReplenished(event) => event.event_id(),
            Self::StockLevelLow(event) => event.event_id(),
        }
    }

    /// When the fact happened.
    #[must_use]
    pub fn occurred_at(&self) -> chrono::DateTime<chrono::Utc> {
        use crate::event::Event;
        match self {
            Self::OrderPlaced(event) => event.occurred_at(),
            Self::OrderConfirmed(event) => event.occurred_at(),
            Self::OrderCancelled(event) => event.occurred_at(),
            Self::StockReserved(event) => event.occurred_at(),
            Self::StockReleased(event) => event.occurred_at(),
            Self::StockRejected(event) => event.occurred_at(),
            Self::PaymentCompleted(event) => event.occurred_at(),
            Self::PaymentDeclined(event) => event.occurred_at(),
            Self::PaymentRefunded(event) => event.occurred_at(),
            Self::StockReplenished(event) => event.occurred_at(),
            Self::StockLevelLow(event) => event.occurred_at(),
        }
    }

    /// The record's key.
    #[must_use]
    pub fn key(&self) -> String {
        use crate::event::Event;
        match self {
            Self::OrderPlaced(event) => event.key(),
            Self::OrderConfirmed(event) => event.key(),
            Self::OrderCancelled(event) => event.key(),
            Self::StockReserved(event) => event.key(),
            Self::StockReleased(event) => event.key(),
            Self::StockRejected(event) => event.key(),
            Self::PaymentCompleted(event) => event.key(),
            Self::PaymentDeclined(event) => event.key(),
            Self::PaymentRefunded(event) => event.key(),
            Self::StockReplenished(event) => event.key(),
            Self::StockLevelLow(event) => event.key(),
        }
    }

    /// 1, 2, 3, ... within topic and key.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        use crate::event::Event;
        match self {
            Self::OrderPlaced(event) => event.sequence(),
            Self::OrderConfirmed(event) => event.sequence(),
            Self::OrderCancelled(event) => event.sequence(),
            Self::StockReserved(event) => event.sequence(),
            Self::StockReleased(event) => event.sequence(),
            Self::StockRejected(event) => event.sequence(),
            Self::PaymentCompleted(event) => event.sequence(),
            Self::PaymentDeclined(event) => event.sequence(),
            Self::PaymentRefunded(event) => event.sequence(),
            Self::StockReplenished(event) => event.sequence(),
            Self::StockLevelLow(event) => event.sequence(),
        }
    }

    /// The record's full name.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        use crate::event::Event;
        match self {
            Self::OrderPlaced(_) => order::OrderPlaced::TYPE,
            Self::OrderConfirmed(_) => order::OrderConfirmed::TYPE,
            Self::OrderCancelled(_) => order::OrderCancelled::TYPE,
            Self::StockReserved(_) => reservation::StockReserved::TYPE,
            Self::StockReleased(_) => reservation::StockReleased::TYPE,
            Self::StockRejected(_) => reservation::StockRejected::TYPE,
            Self::PaymentCompleted(_) => payment::PaymentCompleted::TYPE,
            Self::PaymentDeclined(_) => payment::PaymentDeclined::TYPE,
            Self::PaymentRefunded(_) => payment::PaymentRefunded::TYPE,
            Self::StockReplenished(_) => stock::StockReplenished::TYPE,
            Self::StockLevelLow(_) => stock::StockLevelLow::TYPE,
        }
    }

    /// The topic that carries it.
    #[must_use]
    pub fn topic(&self) -> crate::topics::Topic {
        use crate::event::Event;
        match self {
            Self::OrderPlaced(_) => order::OrderPlaced::TOPIC,
            Self::OrderConfirmed(_) => order::OrderConfirmed::TOPIC,
            Self::OrderCancelled(_) => order::OrderCancelled::TOPIC,
            Self::StockReserved(_) => reservation::StockReserved::TOPIC,
            Self::StockReleased(_) => reservation::StockReleased::TOPIC,
            Self::StockRejected(_) => reservation::StockRejected::TOPIC,
            Self::PaymentCompleted(_) => payment::PaymentCompleted::TOPIC,
            Self::PaymentDeclined(_) => payment::PaymentDeclined::TOPIC,
            Self::PaymentRefunded(_) => payment::PaymentRefunded::TOPIC,
            Self::StockReplenished(_) => stock::StockReplenished::TOPIC,
            Self::StockLevelLow(_) => stock::StockLevelLow::TOPIC,
        }
    }
}
