//! The rules of stock as given / when / then, and as properties of any sequence of facts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

mod properties;

const THRESHOLD: i64 = 10;

fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

fn order(number: u128) -> OrderId {
    OrderId(Uuid::from_u128(number))
}

fn lines(of: &[(&str, i64)]) -> Lines {
    Lines::try_sum(of.iter().map(|(text, quantity)| (sku(text), *quantity))).unwrap()
}

fn placed(of: &[(&str, i64)]) -> OrderFact {
    OrderFact::Placed(lines(of))
}

/// The orders and SKUs that a transaction has locked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rows {
    reservations: BTreeMap<OrderId, Reservation>,
    stock: BTreeMap<Sku, StockLevel>,
}

impl Rows {
    /// Decides on the fact and changes the rows, as a batch does.
    fn apply(&mut self, number: u128, fact: &OrderFact) -> Result<Option<Decision>, Refusal> {
        let reservation = self.reservations.get_mut(&order(number)).unwrap();
        let decision = reservation.decide(order(number), fact, |sku| self.stock.get(sku).copied())?;
        if let Some(decision) = &decision {
            reservation.apply(&decision.event);
            self.stock.extend(decision.levels.iter().map(|change| (change.sku.clone(), change.level)));
        }
        Ok(decision)
    }

    /// What a replenishment would change; an unknown SKU begins with `THRESHOLD`.
    fn replenished(
        &self,
        text: &str,
        quantity: i64,
        reorder_threshold: Option<i64>,
    ) -> Result<LevelChange, Refusal> {
        let before = self.stock.get(&sku(text)).copied().unwrap_or(StockLevel::empty(THRESHOLD));
        before.replenish(&sku(text), quantity, reorder_threshold)
    }

    fn replenish(&mut self, text: &str, quantity: i64) -> LevelChange {
        let change = self.replenished(text, quantity, None).unwrap();
        self.stock.insert(change.sku.clone(), change.level);
        change
    }
}

/// This many orders without an event so far, and these units.
fn given(stock: &[(&str, i64)], orders: u128) -> Given {
    let mut rows = Rows::default();
    for number in 1..=orders {
        let id = ReservationId(Uuid::from_u128(1000 + number));
        rows.reservations.insert(order(number), Reservation { id, state: ReservationState::Unknown });
    }
    for (text, quantity) in stock {
        rows.replenish(text, *quantity);
    }
    Given { rows, seen: Ok(None) }
}

struct Given {
    rows: Rows,
    seen: Result<Option<Decision>, Refusal>,
}

impl Given {
    fn when(mut self, number: u128, fact: &OrderFact) -> Self {
        self.seen = self.rows.apply(number, fact);
        self
    }

    /// The fact led to this, and to no low level.
    fn then(self, expected: &ReservationEvent) -> Self {
        self.then_low(expected, &[])
    }

    /// The fact led to this, and these SKUs fell low.
    fn then_low(self, expected: &ReservationEvent, low: &[&str]) -> Self {
        let Ok(Some(decision)) = &self.seen else { panic!("{:?}", self.seen) };
        assert_eq!(&decision.event, expected);
        let published = decision.levels.iter().filter(|change| !change.events.is_empty());
        let published: Vec<_> = published.map(|change| (change.sku.as_str(), &change.events[..])).collect();
        let fell_low: Vec<_> = low.iter().map(|text| (*text, &[StockEvent::FellLow][..])).collect();
        assert_eq!(published, fell_low);
        self
    }

    fn then_nothing(self) -> Self {
        assert_eq!(self.seen, Ok(None));
        self
    }

    fn then_refused(self, code: &str) -> Self {
        assert_eq!(self.seen.as_ref().map_err(Refusal::code), Err(code));
        self
    }

    /// Available, reserved and committed units of a SKU.
    fn books(self, text: &str, expected: (i64, i64, i64)) -> Self {
        let books = self.rows.stock[&sku(text)].books();
        assert_eq!((books.available, books.reserved, books.committed), expected, "{text}");
        self
    }

    fn state(self, number: u128, name: &str) -> Self {
        assert_eq!(self.rows.reservations[&order(number)].state.name(), name);
        self
    }
}

fn reserved(of: &[(&str, i64)]) -> ReservationEvent {
    ReservationEvent::Reserved(lines(of))
}

fn shortage(text: &str, requested: i64, available: i64) -> Shortage {
    Shortage { sku: sku(text), requested, available }
}

#[test]
fn an_order_in_stock_is_reserved() {
    given(&[("mug", 50), ("tea tin", 20)], 1)
        .when(1, &placed(&[("mug", 3), ("tea tin", 1)]))
        .then(&reserved(&[("mug", 3), ("tea tin", 1)]))
        .books("mug", (47, 3, 0))
        .books("tea tin", (19, 1, 0));
}

#[test]
fn repeated_skus_are_summed_before_they_are_compared_with_the_stock() {
    given(&[("mug", 5)], 1)
        .when(1, &placed(&[("mug", 3), ("mug", 3)]))
        .then(&ReservationEvent::Rejected(vec![shortage("mug", 6, 5)]))
        .books("mug", (5, 0, 0));
}

#[test]
fn a_shortage_of_one_line_holds_none_and_names_every_short_sku() {
    given(&[("mug", 50), ("tea tin", 2)], 1)
        .when(1, &placed(&[("mug", 3), ("tea tin", 4), ("unknown", 1)]))
        .then(&ReservationEvent::Rejected(vec![shortage("tea tin", 4, 2), shortage("unknown", 1, 0)]))
        .books("mug", (50, 0, 0))
        .state(1, "rejected");
}

#[test]
fn the_last_unit_can_be_reserved_once() {
    given(&[("mug", 1)], 2)
        .when(1, &placed(&[("mug", 1)]))
        .books("mug", (0, 1, 0))
        .when(2, &placed(&[("mug", 1)]))
        .state(2, "rejected")
        .books("mug", (0, 1, 0));
}

#[test]
fn a_confirmed_order_has_its_units_committed() {
    given(&[("mug", 50)], 1)
        .when(1, &placed(&[("mug", 3)]))
        .when(1, &OrderFact::Confirmed)
        .then(&ReservationEvent::Committed(lines(&[("mug", 3)])))
        .books("mug", (47, 0, 3));
}

#[test]
fn a_cancelled_order_gives_its_units_back() {
    given(&[("mug", 50)], 1)
        .when(1, &placed(&[("mug", 3)]))
        .when(1, &OrderFact::Cancelled)
        .then(&ReservationEvent::Released(lines(&[("mug", 3)])))
        .books("mug", (50, 0, 0));
}

#[test]
fn an_order_cancelled_before_it_was_known_reserves_nothing_when_it_arrives() {
    given(&[("mug", 50)], 1)
        .when(1, &OrderFact::Cancelled)
        .then(&ReservationEvent::CancelledBeforePlaced)
        .when(1, &placed(&[("mug", 3)]))
        .then_nothing()
        .state(1, "cancelled_before_placed")
        .books("mug", (50, 0, 0));
}

#[test]
fn the_cancellation_of_a_rejected_order_moves_no_stock() {
    given(&[("mug", 1)], 1)
        .when(1, &placed(&[("mug", 3)]))
        .when(1, &OrderFact::Cancelled)
        .then_nothing()
        .state(1, "rejected")
        .books("mug", (1, 0, 0));
}

#[test]
fn replays_of_each_fact_change_nothing() {
    given(&[("mug", 50)], 2)
        .when(1, &placed(&[("mug", 3)]))
        .when(1, &placed(&[("mug", 3)]))
        .then_nothing()
        .when(1, &OrderFact::Confirmed)
        .when(1, &OrderFact::Confirmed)
        .then_nothing()
        .when(1, &placed(&[("mug", 3)]))
        .then_nothing()
        .books("mug", (47, 0, 3))
        .when(2, &placed(&[("mug", 2)]))
        .when(2, &OrderFact::Cancelled)
        .when(2, &OrderFact::Cancelled)
        .then_nothing()
        .when(2, &placed(&[("mug", 2)]))
        .then_nothing()
        .books("mug", (47, 0, 3));
}

#[test]
fn an_order_confirmed_without_stock_is_refused() {
    given(&[("mug", 1)], 3)
        .when(1, &OrderFact::Confirmed)
        .then_refused("confirmed_without_stock")
        .when(2, &placed(&[("mug", 3)]))
        .when(2, &OrderFact::Confirmed)
        .then_refused("confirmed_without_stock")
        .when(3, &placed(&[("mug", 1)]))
        .when(3, &OrderFact::Cancelled)
        .when(3, &OrderFact::Confirmed)
        .then_refused("confirmed_without_stock")
        .books("mug", (1, 0, 0));
}

#[test]
fn a_confirmed_order_can_not_be_cancelled() {
    given(&[("mug", 5)], 1)
        .when(1, &placed(&[("mug", 3)]))
        .when(1, &OrderFact::Confirmed)
        .when(1, &OrderFact::Cancelled)
        .then_refused("cancelled_after_commit")
        .books("mug", (2, 0, 3));
}

#[test]
fn stock_runs_low_once_per_downward_crossing() {
    given(&[("mug", 15)], 5)
        .when(1, &placed(&[("mug", 5)]))
        .books("mug", (10, 5, 0))
        // Ten of ten is not low yet.
        .then(&reserved(&[("mug", 5)]))
        .when(2, &placed(&[("mug", 1)]))
        .then_low(&reserved(&[("mug", 1)]), &["mug"])
        .when(3, &placed(&[("mug", 1)]))
        .then(&reserved(&[("mug", 1)]))
        .when(1, &OrderFact::Cancelled)
        .books("mug", (13, 2, 0))
        .when(4, &placed(&[("mug", 4)]))
        .then_low(&reserved(&[("mug", 4)]), &["mug"]);
}

#[test]
fn a_new_sku_with_few_units_is_announced_as_low_once() {
    for (threshold, reorder_threshold) in [(THRESHOLD, None), (0, Some(5))] {
        let change = StockLevel::empty(threshold).replenish(&sku("mug"), 3, reorder_threshold).unwrap();
        assert_eq!(change.events, [StockEvent::Replenished { quantity: 3 }, StockEvent::FellLow]);
        let sold_out = change.level.reserve(&sku("mug"), 3).unwrap();
        assert_eq!(sold_out.events, []);
    }
}

#[test]
fn a_release_that_reaches_the_threshold_is_announced() {
    let given = given(&[("mug", 15)], 2)
        .when(1, &placed(&[("mug", 3)]))
        .when(2, &placed(&[("mug", 4)]))
        .then_low(&reserved(&[("mug", 4)]), &["mug"]);
    let announced = |given: &Given| {
        let Ok(Some(decision)) = &given.seen else { panic!("{:?}", given.seen) };
        decision.levels.iter().flat_map(|change| change.events.clone()).collect::<Vec<_>>()
    };
    let given = given.when(2, &OrderFact::Cancelled).books("mug", (12, 3, 0));
    assert_eq!(announced(&given), [StockEvent::Restored], "the level is not low any more");
    let given = given.when(1, &OrderFact::Cancelled).books("mug", (15, 0, 0));
    assert_eq!(announced(&given), [], "it was not low before");
}

#[test]
fn a_threshold_raised_above_the_level_counts_as_a_crossing() {
    let rows = given(&[("mug", 50)], 0).rows;
    let change = rows.replenished("mug", 1, Some(100)).unwrap();
    assert_eq!(change.events, [StockEvent::Replenished { quantity: 1 }, StockEvent::FellLow]);
}

#[test]
fn replenishments_out_of_range_are_refused() {
    let rows = given(&[("mug", i64::MAX)], 0).rows;
    let refused =
        |quantity, threshold| rows.replenished("mug", quantity, threshold).map_err(|refusal| refusal.code());
    assert_eq!(refused(1, None), Err("too_many_units"));
    assert_eq!(refused(0, None), Err("quantity_not_positive"));
    assert_eq!(refused(1, Some(-1)), Err("negative_threshold"));
}

#[test]
fn lines_that_ask_for_nothing_or_too_much_are_refused() {
    let sum = |of: &[i64]| Lines::try_sum(of.iter().map(|quantity| (sku("mug"), *quantity)));
    assert_eq!(sum(&[]).map_err(|refusal| refusal.code()), Err("no_lines"));
    assert_eq!(sum(&[1, 0]).map_err(|refusal| refusal.code()), Err("quantity_not_positive"));
    assert_eq!(sum(&[i64::MAX, 1]).map_err(|refusal| refusal.code()), Err("too_many_units"));
}

#[test]
fn a_sku_has_1_to_64_printable_characters_with_inner_spaces_only() {
    for good in ["85123A", "BANK CHARGES", "x", "ÄÖÜ ß", &"x".repeat(64)] {
        assert!(Sku::parse(good).is_ok(), "{good:?}");
    }
    for bad in
        ["", " ", " x", "x ", "a\tb", "a\nb", "a\u{a0}b", "a\u{200b}b", "\u{7f}", ".", "..", &"x".repeat(65)]
    {
        assert!(Sku::parse(bad).is_err(), "{bad:?}");
    }
    // Another release took them, and its events and rows are read on.
    for published in [".", "a\u{200b}b", "\u{3164}"] {
        assert!(Sku::published(published).is_ok(), "{published:?}");
    }
    assert!(Sku::published("a\u{0}").is_err());
}
