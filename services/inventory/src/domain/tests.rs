//! The rules of stock as given / when / then, and as properties of any sequence of facts.

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

/// A warehouse that knows `orders` orders by name only, and keeps these units.
fn given(stock: &[(&str, i64)], orders: u128) -> Given {
    let mut warehouse = Warehouse::default();
    for number in 1..=orders {
        let reservation = Reservation {
            id: ReservationId(Uuid::from_u128(1000 + number)),
            state: ReservationState::Unknown,
        };
        warehouse.reservations.insert(order(number), reservation);
    }
    for (text, quantity) in stock {
        for event in warehouse.replenish(&sku(text), *quantity, None, THRESHOLD).unwrap() {
            warehouse.evolve(&event).unwrap();
        }
    }
    Given { warehouse, seen: Ok(Vec::new()) }
}

struct Given {
    warehouse: Warehouse,
    seen: Result<Vec<StockEvent>, Refusal>,
}

impl Given {
    fn when(mut self, number: u128, fact: &OrderFact) -> Self {
        self.seen = self.warehouse.react(order(number), fact);
        for event in self.seen.as_deref().unwrap_or_default() {
            self.warehouse.evolve(event).unwrap();
        }
        self
    }

    fn then(self, expected: &[StockEvent]) -> Self {
        assert_eq!(self.seen.as_deref(), Ok(expected));
        self
    }

    fn then_refused(self, code: &str) -> Self {
        assert_eq!(self.seen.as_ref().map_err(Refusal::code), Err(code));
        self
    }

    /// Available, reserved and committed units of a SKU.
    fn books(self, text: &str, expected: (i64, i64, i64)) -> Self {
        let books = self.warehouse.shelves[&sku(text)].books();
        assert_eq!((books.available, books.reserved, books.committed), expected, "{text}");
        self
    }

    fn state(self, number: u128, name: &str) -> Self {
        assert_eq!(self.warehouse.reservations[&order(number)].state.name(), name);
        self
    }
}

fn reserved(number: u128, of: &[(&str, i64)]) -> StockEvent {
    let reservation_id = ReservationId(Uuid::from_u128(1000 + number));
    StockEvent::Reserved { order_id: order(number), reservation_id, lines: lines(of) }
}

fn released(number: u128, of: &[(&str, i64)]) -> StockEvent {
    let reservation_id = ReservationId(Uuid::from_u128(1000 + number));
    StockEvent::Released { order_id: order(number), reservation_id, lines: lines(of) }
}

fn fell_low(warehouse: &Warehouse, text: &str) -> StockEvent {
    StockEvent::FellLow { sku: sku(text), level: warehouse.shelves[&sku(text)] }
}

#[test]
fn an_order_in_stock_is_reserved() {
    given(&[("mug", 50), ("tea tin", 20)], 1)
        .when(1, &placed(&[("mug", 3), ("tea tin", 1)]))
        .then(&[reserved(1, &[("mug", 3), ("tea tin", 1)])])
        .books("mug", (47, 3, 0))
        .books("tea tin", (19, 1, 0));
}

#[test]
fn repeated_skus_are_summed_before_they_are_compared_with_the_stock() {
    given(&[("mug", 5)], 1)
        .when(1, &placed(&[("mug", 3), ("mug", 3)]))
        .then(&[StockEvent::Rejected {
            order_id: order(1),
            shortages: vec![Shortage { sku: sku("mug"), requested: 6, available: 5 }],
        }])
        .books("mug", (5, 0, 0));
}

#[test]
fn a_shortage_of_one_line_holds_none_and_names_every_short_sku() {
    given(&[("mug", 50), ("tea tin", 2)], 1)
        .when(1, &placed(&[("mug", 3), ("tea tin", 4), ("unknown", 1)]))
        .then(&[StockEvent::Rejected {
            order_id: order(1),
            shortages: vec![
                Shortage { sku: sku("tea tin"), requested: 4, available: 2 },
                Shortage { sku: sku("unknown"), requested: 1, available: 0 },
            ],
        }])
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
        .then(&[StockEvent::Committed { order_id: order(1), lines: lines(&[("mug", 3)]) }])
        .books("mug", (47, 0, 3));
}

#[test]
fn a_cancelled_order_gives_its_units_back() {
    given(&[("mug", 50)], 1)
        .when(1, &placed(&[("mug", 3)]))
        .when(1, &OrderFact::Cancelled)
        .then(&[released(1, &[("mug", 3)])])
        .books("mug", (50, 0, 0));
}

#[test]
fn an_order_cancelled_before_it_was_known_reserves_nothing_when_it_arrives() {
    given(&[("mug", 50)], 1)
        .when(1, &OrderFact::Cancelled)
        .then(&[StockEvent::CancelledBeforePlaced { order_id: order(1) }])
        .when(1, &placed(&[("mug", 3)]))
        .then(&[])
        .state(1, "cancelled_before_placed")
        .books("mug", (50, 0, 0));
}

#[test]
fn the_cancellation_of_a_rejected_order_moves_no_stock() {
    given(&[("mug", 1)], 1)
        .when(1, &placed(&[("mug", 3)]))
        .when(1, &OrderFact::Cancelled)
        .then(&[])
        .state(1, "rejected")
        .books("mug", (1, 0, 0));
}

#[test]
fn replays_of_each_fact_change_nothing() {
    given(&[("mug", 50)], 2)
        .when(1, &placed(&[("mug", 3)]))
        .when(1, &placed(&[("mug", 3)]))
        .then(&[])
        .when(1, &OrderFact::Confirmed)
        .when(1, &OrderFact::Confirmed)
        .then(&[])
        .when(1, &placed(&[("mug", 3)]))
        .then(&[])
        .books("mug", (47, 0, 3))
        .when(2, &placed(&[("mug", 2)]))
        .when(2, &OrderFact::Cancelled)
        .when(2, &OrderFact::Cancelled)
        .then(&[])
        .when(2, &placed(&[("mug", 2)]))
        .then(&[])
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
    let at_threshold = given(&[("mug", 15)], 5).when(1, &placed(&[("mug", 5)])).books("mug", (10, 5, 0));
    assert_eq!(at_threshold.seen.as_deref().map(<[_]>::len), Ok(1), "ten of ten is not low yet");

    let crossed = at_threshold.when(2, &placed(&[("mug", 1)]));
    let expected = [reserved(2, &[("mug", 1)]), fell_low(&crossed.warehouse, "mug")];
    let below = crossed.then(&expected).when(3, &placed(&[("mug", 1)])).then(&[reserved(3, &[("mug", 1)])]);

    let again = below.when(1, &OrderFact::Cancelled).books("mug", (13, 2, 0)).when(4, &placed(&[("mug", 4)]));
    let expected = [reserved(4, &[("mug", 4)]), fell_low(&again.warehouse, "mug")];
    again.then(&expected);
}

#[test]
fn a_new_sku_with_few_units_has_crossed_nothing() {
    let events = Warehouse::default().replenish(&sku("mug"), 3, None, THRESHOLD).unwrap();
    assert_eq!(events.len(), 1);
    let events = Warehouse::default().replenish(&sku("mug"), 3, Some(5), 0).unwrap();
    assert_eq!(events.len(), 1);
}

#[test]
fn a_threshold_raised_above_the_level_counts_as_a_crossing() {
    let warehouse = given(&[("mug", 50)], 0).warehouse;
    let events = warehouse.replenish(&sku("mug"), 1, Some(100), THRESHOLD).unwrap();
    assert!(matches!(events[..], [StockEvent::Replenished { .. }, StockEvent::FellLow { .. }]), "{events:?}");
}

#[test]
fn replenishments_out_of_range_are_refused() {
    let warehouse = given(&[("mug", i64::MAX)], 0).warehouse;
    let refused = |quantity, threshold| {
        warehouse.replenish(&sku("mug"), quantity, threshold, THRESHOLD).map_err(|refusal| refusal.code())
    };
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
    for bad in ["", " ", " x", "x ", "a\tb", "a\nb", "a\u{a0}b", "a\u{200b}b", "\u{7f}", &"x".repeat(65)] {
        assert!(Sku::parse(bad).is_err(), "{bad:?}");
    }
}
