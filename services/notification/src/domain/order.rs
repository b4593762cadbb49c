//! The facts about one order and the notifications that follow from them, in whatever order the facts arrive.
//!
//! **Invariant.** The notifications of an order are a function of its facts alone: each fact adds those that it makes
//! possible, so that no order of arrival loses or repeats one.

use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub Uuid);

/// An amount in the currency's minor units (ISO 4217).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    pub amount_minor: i64,
    pub currency: String,
}

/// Whether the order has a recipient; who that is stands in the mails only. `total` is the order's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientStatus {
    /// `OrderPlaced` has not come yet.
    Unknown,
    /// Nothing is mailed.
    Absent {
        total: Money,
    },
    Present {
        total: Money,
    },
}

/// Why an order was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    OutOfStock,
    PaymentDeclined,
    CustomerRequest,
    TimedOut,
    /// A reason newer than this program.
    Unknown,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Confirmed,
    Cancelled(Reason),
}

/// What a customer is mailed about; an order has at most one notification of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    OrderReceived,
    OrderConfirmed,
    OrderCancelled(Reason),
    PaymentRefunded(Money),
}

/// Why a fact is impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("order {} was placed twice, with different contents", .order_id.0)]
    ContradictingOrder { order_id: OrderId },
    #[error("order {} ended as {first:?} and cannot end as {second:?}", .order_id.0)]
    ContradictingEnd { order_id: OrderId, first: End, second: End },
}

impl Refusal {
    /// A stable code, for metrics and dead letters.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ContradictingOrder { .. } => "contradicting_order",
            Self::ContradictingEnd { .. } => "contradicting_end",
        }
    }
}

/// What is known of one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub order_id: OrderId,
    pub recipient_status: RecipientStatus,
    pub end: Option<End>,
    /// The amount given back, if any was.
    pub refund: Option<Money>,
}

impl Order {
    /// `OrderPlaced`: now it is known whether the order has a recipient.
    pub fn placed(&mut self, recipient_status: RecipientStatus) -> Result<Vec<Notification>, Refusal> {
        match &self.recipient_status {
            RecipientStatus::Unknown => Ok(self.learn(|order| order.recipient_status = recipient_status)),
            known if *known == recipient_status => Ok(Vec::new()),
            RecipientStatus::Absent { .. } | RecipientStatus::Present { .. } => {
                Err(Refusal::ContradictingOrder { order_id: self.order_id })
            }
        }
    }

    /// `OrderConfirmed` or `OrderCancelled`.
    pub fn ended(&mut self, end: End) -> Result<Vec<Notification>, Refusal> {
        match self.end {
            None => Ok(self.learn(|order| order.end = Some(end))),
            Some(first) if first == end => Ok(Vec::new()),
            Some(first) => Err(Refusal::ContradictingEnd { order_id: self.order_id, first, second: end }),
        }
    }

    /// `PaymentRefunded`, which may come before anything else is known.
    pub fn refunded(&mut self, amount: Money) -> Vec<Notification> {
        if self.refund.is_some() {
            return Vec::new();
        }
        self.learn(|order| order.refund = Some(amount))
    }

    /// All notifications that the known facts lead to.
    pub fn notifications(&self) -> Vec<Notification> {
        match &self.recipient_status {
            RecipientStatus::Unknown | RecipientStatus::Absent { .. } => return Vec::new(),
            RecipientStatus::Present { .. } => {}
        }
        let mut notifications = vec![Notification::OrderReceived];
        match self.end {
            Some(End::Confirmed) => notifications.push(Notification::OrderConfirmed),
            Some(End::Cancelled(reason)) => notifications.push(Notification::OrderCancelled(reason)),
            None => {}
        }
        notifications.extend(self.refund.clone().map(Notification::PaymentRefunded));
        notifications
    }

    /// Adds a fact and gives the notifications that it leads to.
    fn learn(&mut self, fact: impl FnOnce(&mut Self)) -> Vec<Notification> {
        let known = self.notifications();
        fact(self);
        self.notifications().into_iter().filter(|notification| !known.contains(notification)).collect()
    }
}

impl RecipientStatus {
    pub const fn total(&self) -> Option<&Money> {
        match self {
            Self::Unknown => None,
            Self::Absent { total } | Self::Present { total } => Some(total),
        }
    }
}

impl Notification {
    /// The kind's name in tables, templates and HTTP responses.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OrderReceived => "order_received",
            Self::OrderConfirmed => "order_confirmed",
            Self::OrderCancelled(_) => "order_cancelled",
            Self::PaymentRefunded(_) => "payment_refunded",
        }
    }
}

impl Reason {
    pub const ALL: [Self; 5] =
        [Self::OutOfStock, Self::PaymentDeclined, Self::CustomerRequest, Self::TimedOut, Self::Unknown];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutOfStock => "out_of_stock",
            Self::PaymentDeclined => "payment_declined",
            Self::CustomerRequest => "customer_request",
            Self::TimedOut => "timed_out",
            Self::Unknown => "unknown",
        }
    }
}
