//! All orders of arrival, each fact doubled, at every moment of the saga, end with the same money.

use contracts::AnyEvent;
use contracts::clock::new_id;
use inbox::testing::permutations;
use proptest::prelude::*;
use uuid::Uuid;

use crate::stack::{GIVEN_BACK, NOTHING, Stack, TAKEN, cancelled, keeps_money, placed, reserved};

/// The facts of one order: each twice, with other event ids, as if the inbox let both through.
fn doubled(order_id: Uuid, token: &str, cancel: bool) -> Vec<AnyEvent> {
    let mut facts = vec![placed(order_id, token), reserved(order_id)];
    facts.extend([placed(order_id, token), reserved(order_id)]);
    if cancel {
        facts.extend([cancelled(order_id), cancelled(order_id)]);
    }
    facts
}

#[tokio::test]
async fn every_order_of_arrival_of_doubled_facts_ends_in_the_same_kind_of_state() {
    let stack = Stack::start().await;
    let worker = stack.worker();
    let mut cases = Vec::new();
    for token in ["tok_visa", "tok_declined", "tok_fraud", "tok_capture_declined"] {
        for cancel in [false, true] {
            let template = doubled(Uuid::nil(), token, cancel);
            for (index, _) in
                permutations(&template).into_iter().enumerate().step_by(if cancel { 9 } else { 1 })
            {
                let order_id = new_id();
                let facts = permutations(&doubled(order_id, token, cancel)).swap_remove(index);
                cases.push((order_id, token, cancel, facts));
            }
        }
    }
    // The worker runs meanwhile, so that facts meet the saga at all of its steps.
    for round in 0..6 {
        for chunk in cases.chunks(40) {
            let facts: Vec<_> =
                chunk.iter().filter_map(|(_, _, _, facts)| facts.get(round)).cloned().collect();
            stack.apply(&facts).await;
        }
    }
    stack.rest().await;
    worker.stop().await;
    let mut ends = std::collections::BTreeMap::new();
    for (order_id, token, cancel, facts) in &cases {
        let entry = stack.entry(*order_id).await;
        let money = stack.money(*order_id).await;
        let keeps = *token == "tok_visa" && !cancel;
        assert_eq!(keeps_money(&entry.payment.state), keeps, "{entry:?} after {facts:#?}");
        assert!(
            if keeps { money == TAKEN } else { money == NOTHING || money == GIVEN_BACK },
            "{money:?} {entry:?}"
        );
        let published = stack.published(*order_id).await;
        if !cancel {
            assert_eq!(published.len(), 1, "{published:?} {entry:?}");
        }
        let refunds = published.iter().filter(|name| name.ends_with("PaymentRefunded")).count();
        assert_eq!(refunds, usize::from(money == GIVEN_BACK), "{published:?}");
        *ends
            .entry((*token, *cancel, payment::adapters::postgres::row::state_name(&entry.payment.state)))
            .or_insert(0) += 1;
    }
    println!("{} orders: {ends:?}", cases.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Batches of facts of several orders, cut anywhere, with the worker running: the books balance.
    #[test]
    fn any_history_of_several_orders_balances(
        tokens in prop::collection::vec(prop::sample::select(vec!["tok_visa", "tok_fraud", "tok_declined", "tok_flaky", "tok_capture_declined"]), 1..6),
        cancels in prop::collection::vec(any::<bool>(), 6),
        shuffle in prop::collection::vec(any::<u32>(), 36),
        batch in 1_usize..8,
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let stack = Stack::start().await;
            let worker = stack.worker();
            let orders: Vec<Uuid> = tokens.iter().map(|_| new_id()).collect();
            let mut facts: Vec<(u32, AnyEvent)> = orders
                .iter()
                .zip(&tokens)
                .zip(&cancels)
                .flat_map(|((order_id, token), cancel)| doubled(*order_id, token, *cancel))
                .zip(&shuffle)
                .map(|(fact, key)| (*key, fact))
                .collect();
            facts.sort_by_key(|(key, _)| *key);
            let facts: Vec<AnyEvent> = facts.into_iter().map(|(_, fact)| fact).collect();
            for chunk in facts.chunks(batch) {
                stack.apply(chunk).await;
            }
            stack.rest().await;
            worker.stop().await;
            for ((order_id, token), cancel) in orders.iter().zip(&tokens).zip(&cancels) {
                let money = stack.money(*order_id).await;
                let keeps = matches!(*token, "tok_visa" | "tok_flaky") && !cancel;
                let expected = if keeps { 4_200 } else { 0 };
                assert_eq!(money.captured_minor - money.refunded_minor, expected, "{token} {cancel}");
                assert!(!money.still_held, "{token} {cancel}");
            }
        });
    }
}
