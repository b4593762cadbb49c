//! The state from which an order decides, and how events change it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::event::OrderEvent;
use super::values::{CancellationReason, CurrencyCode, Status};

/// What was agreed: a payment must be over exactly this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The total in minor units.
    pub total_minor: i64,
    pub currency: CurrencyCode,
}

/// The facts from other services that are recorded. A fact that is recorded already is a duplicate and changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub reservation_id: Option<Uuid>,
    pub stock_rejected: bool,
    pub payment_id: Option<Uuid>,
    pub payment_declined: bool,
}

/// An order's state: without its content, which no decision needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Nothing has happened yet.
    #[default]
    Unplaced,
    /// Open: waits for stock, payment, its customer or its deadline.
    Placed { terms: Terms, due_at: Option<DateTime<Utc>>, facts: Facts },
    /// Ended: paid.
    Confirmed { terms: Terms, facts: Facts, ended_at: DateTime<Utc> },
    /// Ended: not going to happen.
    Cancelled {
        terms: Terms,
        facts: Facts,
        ended_at: DateTime<Utc>,
        reason: CancellationReason,
        /// More about it, for a person.
        detail: Option<String>,
    },
}

/// A stream that holds what no decision could have led to: the data was tampered with or the code is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is impossible for an order that is {state}")]
pub struct ImpossibleTransition {
    pub state: &'static str,
    pub event: &'static str,
}

impl Order {
    /// Where it stands; none before it was placed.
    pub const fn status(&self) -> Option<Status> {
        match self {
            Self::Unplaced => None,
            Self::Placed { .. } => Some(Status::Placed),
            Self::Confirmed { .. } => Some(Status::Confirmed),
            Self::Cancelled { .. } => Some(Status::Cancelled),
        }
    }

    pub const fn facts(&self) -> Facts {
        match self {
            Self::Unplaced => Facts {
                reservation_id: None,
                stock_rejected: false,
                payment_id: None,
                payment_declined: false,
            },
            Self::Placed { facts, .. } | Self::Confirmed { facts, .. } | Self::Cancelled { facts, .. } => {
                *facts
            }
        }
    }

    /// What was agreed; none before it was placed.
    pub const fn terms(&self) -> Option<&Terms> {
        match self {
            Self::Unplaced => None,
            Self::Placed { terms, .. } | Self::Confirmed { terms, .. } | Self::Cancelled { terms, .. } => {
                Some(terms)
            }
        }
    }

    fn name(&self) -> &'static str {
        self.status().map_or("unplaced", Status::as_str)
    }

    /// The state after `event`, which happened at `at`.
    ///
    /// # Errors
    /// When no decision could have led to it.
    pub fn evolve(self, event: &OrderEvent, at: DateTime<Utc>) -> Result<Self, ImpossibleTransition> {
        let name = event.name();
        match event {
            OrderEvent::OrderPlaced(placement) => match self {
                Self::Unplaced => Ok(Self::Placed {
                    terms: Terms { total_minor: placement.total_minor, currency: placement.currency.clone() },
                    due_at: None,
                    facts: Facts::default(),
                }),
                other => Err(other.impossible(name)),
            },
            OrderEvent::DeadlineScheduled { due_at } => match self {
                Self::Placed { terms, facts, .. } => Ok(Self::Placed { terms, facts, due_at: Some(*due_at) }),
                other => Err(other.impossible(name)),
            },
            OrderEvent::OrderConfirmed { payment_id } => match self {
                Self::Placed { terms, mut facts, .. } => {
                    facts.payment_id = Some(*payment_id);
                    Ok(Self::Confirmed { terms, facts, ended_at: at })
                }
                other => Err(other.impossible(name)),
            },
            OrderEvent::OrderCancelled { reason, detail } => match self {
                Self::Placed { terms, mut facts, .. } => {
                    facts.stock_rejected |= *reason == CancellationReason::OutOfStock;
                    facts.payment_declined |= *reason == CancellationReason::PaymentDeclined;
                    Ok(Self::Cancelled {
                        terms,
                        facts,
                        ended_at: at,
                        reason: *reason,
                        detail: detail.clone(),
                    })
                }
                other => Err(other.impossible(name)),
            },
            OrderEvent::StockReservationRecorded { reservation_id } => {
                self.with_fact(name, |facts| facts.reservation_id = Some(*reservation_id))
            }
            OrderEvent::LatePaymentRecorded { payment_id } => {
                self.with_fact(name, |facts| facts.payment_id = Some(*payment_id))
            }
            OrderEvent::LateDeclineRecorded { .. } => {
                self.with_fact(name, |facts| facts.payment_declined = true)
            }
            OrderEvent::LateStockRejectionRecorded {} => {
                self.with_fact(name, |facts| facts.stock_rejected = true)
            }
        }
    }

    fn with_fact(
        mut self,
        event: &'static str,
        note: impl FnOnce(&mut Facts),
    ) -> Result<Self, ImpossibleTransition> {
        match &mut self {
            Self::Unplaced => return Err(self.impossible(event)),
            Self::Placed { facts, .. } | Self::Confirmed { facts, .. } | Self::Cancelled { facts, .. } => {
                note(facts);
            }
        }
        Ok(self)
    }

    fn impossible(&self, event: &'static str) -> ImpossibleTransition {
        ImpossibleTransition { state: self.name(), event }
    }
}
