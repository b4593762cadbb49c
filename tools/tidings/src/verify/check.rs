//! The registry of checks: what `tidings verify` compares with what, by guarantee.
//!
//! A comparison names its check, so that one that does not stand here does not compile. docs/guarantees.md lists them.

use std::fmt;

use serde::Serialize;

/// A guarantee of `docs/guarantees.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Guarantee {
    /// Accepted means published.
    G1,
    /// Order per key.
    G2,
    /// Effects once.
    G3,
    /// Every order ends, and the books balance.
    G4,
    /// Nothing dropped silently.
    G5,
    /// Contracts never break.
    G6,
}

impl Guarantee {
    /// Those that a running system is checked for.
    pub const ALL: [Self; 6] = [Self::G1, Self::G2, Self::G3, Self::G4, Self::G5, Self::G6];

    /// What it promises, in short.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::G1 => "accepted means published",
            Self::G2 => "order per key",
            Self::G3 => "effects once",
            Self::G4 => "every order ends, the books balance",
            Self::G5 => "nothing dropped silently",
            Self::G6 => "contracts never break",
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

macro_rules! checks {
    ($($name:ident: $guarantee:ident, $noun:literal, $what:literal, $with:literal;)*) => {
        /// One comparison of `tidings verify`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Check {
            $(#[doc = concat!($what, ", compared with ", $with, ".")] $name,)*
        }

        impl Check {
            /// All of them, in the order of the guarantees.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The guarantee that it belongs to.
            #[must_use]
            pub const fn guarantee(self) -> Guarantee {
                match self { $(Self::$name => Guarantee::$guarantee,)* }
            }

            /// What is counted, in the plural.
            #[must_use]
            pub const fn noun(self) -> &'static str {
                match self { $(Self::$name => $noun,)* }
            }

            /// What is compared.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }

            /// What it is compared with.
            #[must_use]
            pub const fn with(self) -> &'static str {
                match self { $(Self::$name => $with,)* }
            }
        }
    };
}

checks! {
    OutboxMessages: G1, "outbox messages", "key, sequence, value and every header of each published message", "the record of the same event on its topic";
    OutboxLinks: G1, "outbox links", "the predecessor that each message names", "the message before it of the same topic and key";
    OutboxPartitions: G1, "outbox table partitions", "the list of table partitions", "the existing tables, without a gap between them";
    BlockedKeys: G1, "blocked keys", "the keys that a relay has blocked", "none";
    Aggregates: G1, "aggregates", "the last sequence and message id in the row of each order, reservation, payment and SKU", "the events of its key on the topic and in the outbox";
    Orders: G1, "orders", "each order on the topic", "a row in order's database";
    IdempotencyKeys: G1, "idempotency keys", "the idempotency key of each order, with its request and answer", "OrderPlaced";
    Sequences: G2, "events", "the first occurrences of each key's events", "the numbers 1, 2, 3, ... in one partition";
    Repetitions: G2, "repeated records", "each further occurrence of an event", "the first one";
    Keys: G2, "records", "each record's key and partition", "the key of its event and Kafka's partitioner";
    Timelines: G3, "timelines", "the events of each order on the topics", "each other: no effect twice, none without its cause, none with other lines or another amount";
    OrderStreams: G3, "domain events", "each order's event stream", "its published events and the events that order has applied";
    OrderHeads: G3, "stream heads", "each order's head, every column", "its stream";
    OrderViews: G3, "order views", "each order's read model, every column", "its stream";
    Deadlines: G3, "deadlines", "the deadlines", "the open orders";
    Reservations: G3, "reservations", "state, lines and id of each reservation", "the events that inventory has applied and published";
    Stock: G3, "SKUs", "units and threshold of each SKU", "the replenishments and reservations of the topics";
    Replenishments: G3, "replenishments", "each replenishment's key, SKU, quantity and answer", "the one StockReplenished that it caused";
    Payments: G3, "payments", "each payment, every column", "the events that payment has applied and published, and the provider's ledger";
    ProviderLedger: G3, "provider steps", "each step in the provider's ledger, including declined ones", "the payment's end and the order's total";
    ProviderAccounts: G3, "provider accounts", "the provider's accounts", "its ledger";
    NotifiedOrders: G3, "notified orders", "the row of each order in notification", "the events that notification has applied";
    Mails: G3, "mails", "each mail's recipient, subject, text, HTML and Message-ID", "the events that notification has applied: each required mail exists once";
    MailsSent: G3, "mails sent", "each mail", "an attempt and the status sent; a failed mail is listed, and is a violation if no failure was expected";
    CountedOrders: G3, "counted orders", "the row of each order in analytics, by which it is counted once", "the events that analytics has applied";
    Funnel: G3, "funnel stages", "orders per stage", "the events that analytics has applied";
    Revenue: G3, "revenues", "orders, units and revenue per currency", "the events that analytics has applied";
    BestSellers: G3, "best sellers", "units and revenue per currency and SKU", "the events that analytics has applied";
    TimeToConfirm: G3, "times to confirm", "orders per bucket of the time from placed to confirmed", "the events that analytics has applied";
    StockAlerts: G3, "stock alerts", "level, threshold and open alert of each SKU", "the events that analytics has applied";
    Generations: G3, "generations", "the generations of the read models", "exactly one live generation, and no row of a missing one";
    Ends: G4, "ends", "each order", "exactly one end on the topic";
    Units: G4, "units", "replenished units of each SKU", "available + reserved + committed, none negative";
    Money: G4, "currencies", "captured minus refunded money of the provider's ledger", "the total of confirmed orders, by order and by currency";
    Fates: G5, "deliveries", "each event in each service that subscribes to it", "its outcome in the inbox (applied, dead letter, discarded), or a position before it";
    InboxRows: G5, "inbox rows", "each row of an inbox", "the record of the same event at its topic, partition and offset";
    Positions: G5, "positions", "offset, digest and time of the last record of each position", "the record at that offset";
    DeadLetters: G5, "dead letters", "each dead letter's bytes, headers, reason and attempts", "the record at its offset, its outcome in the inbox, and the audit";
    DeadLetterKeys: G5, "blocked keys of dead letters", "the number of open dead letters of each key", "the dead letters of the key";
    Audit: G5, "audit entries", "each audit entry", "the outcome of its event in the inbox";
    Deduplication: G5, "floors", "the deduplication floor of each inbox", "its rows";
    Headers: G6, "records", "every header of each record", "its event, its cause and the service that publishes it";
    Schemas: G6, "records", "the schema id of each record", "the schemas registered under the subject of its topic and type";
    Foreign: G6, "foreign records", "each record that is not an event of this system", "none";
}

#[cfg(test)]
mod tests {

    #[test]
    fn the_page_of_guarantees_lists_every_check() {
        let page = include_str!("../../../../docs/guarantees.md");
        let stale = page != crate::verify::page::with_checks(page);
        assert!(!stale, "docs/guarantees.md is older than the registry of checks: make generate");
    }
}
