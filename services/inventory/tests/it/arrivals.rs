//! Every order of arrival, each fact doubled, in batches of every size: the end is the same.

use std::collections::BTreeSet;

use contracts::AnyEvent;
use contracts::clock::new_id;
use inbox::testing::{cuts, permutations};
use uuid::Uuid;

use crate::support::{Inventory, Row, cancelled, confirmed, placed};

#[tokio::test]
async fn a_cancelled_order_holds_nothing_in_whatever_order_and_batches_its_doubled_facts_arrive() {
    let inventory = Inventory::start().await;
    inventory.replenish("mug", 1_000_000, "k-1").await;
    let mut runs = 0;
    let mut ends = BTreeSet::new();
    let facts: [fn(Uuid) -> AnyEvent; 2] = [|order| placed(order, &[("mug", 7)]), cancelled];
    for indexes in permutations(&[0, 0, 1, 1]).into_iter().collect::<BTreeSet<_>>() {
        for cut in 0..8 {
            let order = new_id();
            let events: Vec<AnyEvent> = indexes.iter().map(|index| facts[*index](order)).collect();
            for batch in &cuts(&events)[cut] {
                inventory.apply(batch).await.unwrap();
            }
            let state = inventory.state(order).await.unwrap();
            // An order cancelled before it was placed publishes nothing; a released reservation publishes two events.
            let published = inventory.sequences(&order.to_string()).await.len();
            assert_eq!(
                published,
                if state == "cancelled_before_placed" { 0 } else { 2 },
                "{indexes:?} {cut}"
            );
            ends.insert(state);
            runs += 1;
        }
    }
    println!("{runs} arrivals of a cancelled order");
    assert_eq!(ends, BTreeSet::from(["released".to_owned(), "cancelled_before_placed".to_owned()]));
    assert_eq!(inventory.stock("mug").await, Row { available: 1_000_000, reserved: 0, committed: 0 });
}

#[tokio::test]
async fn a_confirmed_order_is_sold_once_however_its_facts_are_doubled() {
    let inventory = Inventory::start().await;
    inventory.replenish("mug", 1_000_000, "k-1").await;
    let mut runs = 0;
    let facts: [fn(Uuid) -> AnyEvent; 2] = [|order| placed(order, &[("mug", 7)]), confirmed];
    // A confirmation follows its order on the same topic, so the first fact is always the placement.
    for indexes in permutations(&[0, 1, 1]).into_iter().collect::<BTreeSet<_>>() {
        for cut in 0..8 {
            let order = new_id();
            let arrival = std::iter::once(&0).chain(&indexes);
            let events: Vec<AnyEvent> = arrival.map(|index| facts[*index](order)).collect();
            for batch in &cuts(&events)[cut] {
                inventory.apply(batch).await.unwrap();
            }
            runs += 1;
            assert_eq!(inventory.state(order).await.as_deref(), Some("committed"));
            assert_eq!(inventory.stock("mug").await.committed, 7 * runs);
            assert_eq!(inventory.sequences(&order.to_string()).await.len(), 1);
        }
    }
    println!("{runs} arrivals of a confirmed order");
    assert_eq!(inventory.stock("mug").await.reserved, 0);
}
