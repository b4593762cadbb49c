//! The facts about one order and the notices that follow from them, in whatever order the facts arrive.
//!
//! **Invariant.** The notices of an order are a function of its facts alone: each fact adds those that it makes
//! possible, so that no order of arrival loses or doubles one.

use uuid::Uuid;

/// The order that is written about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub Uuid);

/// An amount in the currency's minor units (ISO 4217).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    /// Minor units: pence, cents.
    pub amount_minor: i64,
    /// The ISO 4217 code.
    pub currency: String,
}

/// Whether somebody is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientStatus {
    /// `OrderPlaced` has not come yet.
    Unknown,
    /// The order has no recipient: nothing is mailed.
    Absent {
        /// What was ordered for.
        total: Money,
    },
    /// The order has a recipient; who that is stands in the mails only.
    Present {
        /// What was ordered for.
        total: Money,
    },
}

/// Why an order was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not enough stock.
    OutOfStock,
    /// The payment provider refused.
    PaymentDeclined,
    /// The customer asked for it.
    CustomerRequest,
    /// It waited too long.
    TimedOut,
    /// A reason newer than this program.
    Unknown,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Paid and confirmed.
    Confirmed,
    /// Cancelled.
    Cancelled(Reason),
}

/// One thing that a customer should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The order has arrived.
    OrderReceived,
    /// It is paid and confirmed.
    OrderConfirmed,
    /// It was cancelled.
    OrderCancelled(Reason),
    /// Money was given back.
    PaymentRefunded(Money),
}

/// The kinds of notices; an order has at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NoticeKind {
    /// See [`Notice::OrderReceived`].
    OrderReceived,
    /// See [`Notice::OrderConfirmed`].
    OrderConfirmed,
    /// See [`Notice::OrderCancelled`].
    OrderCancelled,
    /// See [`Notice::PaymentRefunded`].
    PaymentRefunded,
}

/// Why a fact is impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Two different orders under one id.
    #[error("order {} was placed twice, with different contents", .order_id.0)]
    ContradictingOrder {
        /// Which.
        order_id: OrderId,
    },
    /// An order has one end.
    #[error("order {} ended as {known:?} and cannot end as {told:?}", .order_id.0)]
    ContradictingEnd {
        /// Which.
        order_id: OrderId,
        /// The end known before.
        known: End,
        /// The other one.
        told: End,
    },
}

/// What is known of one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which.
    pub order_id: OrderId,
    /// Who is to be told.
    pub recipient_status: RecipientStatus,
    /// How it ended, if it did.
    pub end: Option<End>,
    /// What was given back, if anything was.
    pub refund: Option<Money>,
}

impl Order {
    /// `OrderPlaced`: now it is known whether somebody is to be told.
    ///
    /// # Errors
    /// When another order bears the same id.
    pub fn placed(&mut self, recipient_status: RecipientStatus) -> Result<Vec<Notice>, Rejection> {
        match &self.recipient_status {
            RecipientStatus::Unknown => Ok(self.learn(|order| order.recipient_status = recipient_status)),
            known if *known == recipient_status => Ok(Vec::new()),
            RecipientStatus::Absent { .. } | RecipientStatus::Present { .. } => {
                Err(Rejection::ContradictingOrder { order_id: self.order_id })
            }
        }
    }

    /// `OrderConfirmed` or `OrderCancelled`.
    ///
    /// # Errors
    /// When it has ended otherwise.
    pub fn ended(&mut self, told: End) -> Result<Vec<Notice>, Rejection> {
        match self.end {
            None => Ok(self.learn(|order| order.end = Some(told))),
            Some(known) if known == told => Ok(Vec::new()),
            Some(known) => Err(Rejection::ContradictingEnd { order_id: self.order_id, known, told }),
        }
    }

    /// `PaymentRefunded`, which may come before anything else is known.
    pub fn refunded(&mut self, amount: Money) -> Vec<Notice> {
        if self.refund.is_some() {
            return Vec::new();
        }
        self.learn(|order| order.refund = Some(amount))
    }

    /// What the customer should know by now.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        match &self.recipient_status {
            RecipientStatus::Unknown | RecipientStatus::Absent { .. } => return Vec::new(),
            RecipientStatus::Present { .. } => {}
        }
        let mut notices = vec![Notice::OrderReceived];
        match self.end {
            Some(End::Confirmed) => notices.push(Notice::OrderConfirmed),
            Some(End::Cancelled(reason)) => notices.push(Notice::OrderCancelled(reason)),
            None => {}
        }
        notices.extend(self.refund.clone().map(Notice::PaymentRefunded));
        notices
    }

    /// Takes a fact in and gives the notices that it adds.
    fn learn(&mut self, fact: impl FnOnce(&mut Self)) -> Vec<Notice> {
        let known = self.notices();
        fact(self);
        self.notices().into_iter().filter(|notice| !known.contains(notice)).collect()
    }
}

impl RecipientStatus {
    /// What was ordered for, once known.
    #[must_use]
    pub const fn total(&self) -> Option<&Money> {
        match self {
            Self::Unknown => None,
            Self::Absent { total } | Self::Present { total } => Some(total),
        }
    }
}

impl Notice {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> NoticeKind {
        match self {
            Self::OrderReceived => NoticeKind::OrderReceived,
            Self::OrderConfirmed => NoticeKind::OrderConfirmed,
            Self::OrderCancelled(_) => NoticeKind::OrderCancelled,
            Self::PaymentRefunded(_) => NoticeKind::PaymentRefunded,
        }
    }
}

impl NoticeKind {
    /// The name in tables, templates and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OrderReceived => "order_received",
            Self::OrderConfirmed => "order_confirmed",
            Self::OrderCancelled => "order_cancelled",
            Self::PaymentRefunded => "payment_refunded",
        }
    }
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::OutOfStock, Self::PaymentDeclined, Self::CustomerRequest, Self::TimedOut, Self::Unknown];

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutOfStock => "out_of_stock",
            Self::PaymentDeclined => "payment_declined",
            Self::CustomerRequest => "customer_request",
            Self::TimedOut => "timed_out",
            Self::Unknown => "unknown",
        }
    }

    /// The reason as a customer reads it.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::OutOfStock => "something you ordered is out of stock",
            Self::PaymentDeclined => "the payment was declined",
            Self::CustomerRequest => "as you asked",
            Self::TimedOut => "we could not complete it in time",
            Self::Unknown => "we could not complete it",
        }
    }
}
