//! What holds for any sequence of facts: the books balance, and the order of arrival decides nothing but who gets what.

use super::*;

#[derive(Clone, Debug)]
enum Input {
    Fact(u128, OrderFact),
    Replenish(&'static str, i64),
}

const SKUS: [&str; 4] = ["mug", "tea tin", "lamp", "never kept"];

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let line = (prop::sample::select(&SKUS[..]), 1..40_i64);
    let fact = prop_oneof![
        3 => prop::collection::vec(line, 1..4).prop_map(|lines| placed(&lines)),
        2 => Just(OrderFact::Confirmed),
        2 => Just(OrderFact::Cancelled),
    ];
    let replenishment = (prop::sample::select(&SKUS[..3]), 1..60_i64);
    let input = prop_oneof![
        5 => (1..=6_u128, fact).prop_map(|(number, fact)| Input::Fact(number, fact)),
        1 => replenishment.prop_map(|(text, quantity)| Input::Replenish(text, quantity)),
    ];
    prop::collection::vec(input, 0..60)
}

/// The levels that the input changes.
fn apply(rows: &mut Rows, input: &Input) -> Vec<LevelChange> {
    match input {
        Input::Fact(number, fact) => {
            rows.apply(*number, fact).ok().flatten().map_or_else(Vec::new, |decision| decision.levels)
        }
        Input::Replenish(text, quantity) => vec![rows.replenish(text, *quantity)],
    }
}

/// Units held and units sold, per SKU, by the reservations alone.
fn by_reservations(rows: &Rows) -> BTreeMap<Sku, (i64, i64)> {
    let mut sums = BTreeMap::<Sku, (i64, i64)>::new();
    for reservation in rows.reservations.values() {
        let (lines, held) = match &reservation.state {
            ReservationState::Reserved(lines) => (lines, true),
            ReservationState::Committed(lines) => (lines, false),
            ReservationState::Unknown
            | ReservationState::Rejected
            | ReservationState::Released(_)
            | ReservationState::CancelledBeforePlaced => continue,
        };
        for (sku, quantity) in lines.iter() {
            let sum = sums.entry(sku.clone()).or_default();
            if held { sum.0 += quantity } else { sum.1 += quantity }
        }
    }
    sums
}

proptest! {
    #[test]
    fn the_books_balance_after_any_sequence_of_facts(inputs in inputs()) {
        let mut rows = given(&[("mug", 40), ("tea tin", 15)], 6).rows;
        let mut replenished = BTreeMap::from([(sku("mug"), 40), (sku("tea tin"), 15)]);
        for input in &inputs {
            if let Input::Replenish(text, quantity) = input {
                *replenished.entry(sku(text)).or_insert(0) += quantity;
            }
            apply(&mut rows, input);
            let reservations = by_reservations(&rows);
            for (sku, level) in &rows.stock {
                let books = level.books();
                prop_assert!(books.available >= 0 && books.reserved >= 0 && books.committed >= 0, "{books:?}");
                prop_assert_eq!(books.replenished, books.available + books.reserved + books.committed);
                prop_assert_eq!(books.replenished, replenished[sku]);
                let expected = reservations.get(sku).copied().unwrap_or_default();
                prop_assert_eq!((books.reserved, books.committed), expected);
            }
        }
    }

    #[test]
    fn doubling_every_fact_changes_nothing(inputs in inputs()) {
        let mut once = given(&[("mug", 40)], 6).rows;
        let mut twice = once.clone();
        for input in &inputs {
            apply(&mut once, input);
            apply(&mut twice, input);
            if let Input::Fact(..) = input {
                apply(&mut twice, input);
            }
        }
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn every_low_level_is_announced_exactly_at_its_crossing(inputs in inputs()) {
        let mut rows = given(&[("mug", 40), ("tea tin", 15)], 6).rows;
        for input in &inputs {
            let before = rows.stock.clone();
            let changes = apply(&mut rows, input);
            for (sku, level) in &rows.stock {
                let changes = changes.iter().filter(|change| change.sku == *sku);
                let events: Vec<StockEvent> = changes.flat_map(|change| change.events.clone()).collect();
                let published = events.iter().filter(|event| **event == StockEvent::FellLow);
                let crossed = before.get(sku).is_none_or(|before| !before.is_low()) && level.is_low();
                prop_assert_eq!(published.count(), usize::from(crossed));
                let rose = before.get(sku).is_some_and(StockLevel::is_low) && !level.is_low();
                let told = events.iter().filter(|event| **event != StockEvent::FellLow).count();
                prop_assert!(!rose || told == 1, "a replenishment or a release tells of it: {events:?}");
                let restored = events.contains(&StockEvent::Restored);
                prop_assert!(rose || !restored, "{events:?}");
            }
        }
    }

    #[test]
    fn an_order_that_ends_cancelled_holds_nothing_in_any_order_of_arrival(
        facts in Just(vec![placed(&[("mug", 3)]), OrderFact::Cancelled, placed(&[("mug", 3)]), OrderFact::Cancelled]).prop_shuffle(),
    ) {
        let mut given = given(&[("mug", 40)], 1);
        for fact in &facts {
            given = given.when(1, fact);
            prop_assert!(given.seen.is_ok());
        }
        given.books("mug", (40, 0, 0));
    }
}
