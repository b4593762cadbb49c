//! A member that can't work gives its partitions to one that can (docs/adr/0024), and to no other.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::group::{Group, TIMES};

#[tokio::test]
async fn a_member_without_its_database_gives_its_partitions_to_one_that_has_it() {
    let group = Group::start().await;
    let (proxy, cut_off) = group.join_through_a_proxy().await;
    let other = group.join_directly();
    group.until_shared_by(&[&cut_off, &other]).await;
    proxy.silence_all();
    group.until_left(&cut_off).await;
    group.until_shared_by(&[&other]).await;
    group.until_all_is_applied().await;
    assert!(cut_off.out_of_group().contains("the database does not answer"), "{}", cut_off.out_of_group());
    assert_eq!((group.given_up("database"), group.given_up("broker")), (1, 0));
    proxy.serve();
    cut_off.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn with_all_members_cut_off_nobody_leaves() {
    let group = Group::start().await;
    let (first_proxy, first) = group.join_through_a_proxy().await;
    let (second_proxy, second) = group.join_through_a_proxy().await;
    group.until_shared_by(&[&first, &second]).await;
    first_proxy.silence_all();
    second_proxy.silence_all();
    group.until_stalled(&first).await;
    group.until_stalled(&second).await;
    // Twice before anything is given up.
    let asked = [&first, &second].map(|replica| replica.reach.asked());
    group
        .until("both look for evidence several times", || {
            let now = [&first, &second].map(|replica| replica.reach.asked());
            if now.iter().zip(asked).all(|(now, before)| now - before >= 6) { Ok(()) } else { Err(now) }
        })
        .await;
    assert!(first.is_in_group() && second.is_in_group());
    assert_eq!(group.given_up("database"), 0);
    // Once one of them works, it is the evidence that the other lacked.
    second_proxy.serve();
    group.until_left(&first).await;
    group.until_all_is_applied().await;
    assert_eq!((group.given_up("database"), group.given_up("broker")), (1, 0));
    first_proxy.serve();
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn two_members_cut_off_together_both_leave_to_a_third() {
    let group = Group::start().await;
    let (first_proxy, first) = group.join_through_a_proxy().await;
    let (second_proxy, second) = group.join_through_a_proxy().await;
    let third = group.join_directly();
    group.until_shared_by(&[&first, &second, &third]).await;
    first_proxy.silence_all();
    second_proxy.silence_all();
    group.until_left(&first).await;
    group.until_left(&second).await;
    group.until_shared_by(&[&third]).await;
    group.until_all_is_applied().await;
    assert_eq!((group.given_up("database"), group.given_up("broker")), (2, 0));
    first_proxy.serve();
    second_proxy.serve();
    for replica in [first, second, third] {
        replica.stop().await;
    }
}

#[tokio::test]
async fn a_member_that_a_leader_does_not_answer_gives_its_partitions_to_one_that_it_answers() {
    let group = Group::start().await;
    let (cut_off, other) = (group.join_directly(), group.join_directly());
    group.until_shared_by(&[&cut_off, &other]).await;
    cut_off.reach.cut_off(&cut_off.partitions()[..1]);
    group.until_left(&cut_off).await;
    group.until_shared_by(&[&other]).await;
    group.until_all_is_applied().await;
    assert!(cut_off.out_of_group().contains("leader"), "{}", cut_off.out_of_group());
    assert_eq!((group.given_up("database"), group.given_up("broker")), (0, 1));
    cut_off.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_partition_without_a_leader_empties_no_group() {
    let group = Group::start().await;
    let (owner, other) = (group.join_directly(), group.join_directly());
    group.until_shared_by(&[&owner, &other]).await;
    let without = owner.partitions().swap_remove(0);
    group.set_leader(&without, false);
    group.until_stalled(&owner).await;
    group.until_told_by(2).await;
    assert!(owner.is_in_group() && other.is_in_group());
    assert_eq!(group.given_up("broker"), 0);
    // A leader that answers another member is the evidence that was missing.
    owner.reach.cut_off(std::slice::from_ref(&without));
    group.set_leader(&without, true);
    group.until_left(&owner).await;
    owner.stop().await;
    group.until_all_is_applied().await;
    other.stop().await;
}

#[tokio::test]
async fn a_member_that_reaches_less_is_no_evidence() {
    let group = Group::start().await;
    let (first, second) = (group.join_directly(), group.join_directly());
    group.until_shared_by(&[&first, &second]).await;
    // Each lacks what the other reaches, and one of them has work there.
    let [lacks, works] = [&first, &second].map(|replica| replica.partitions().swap_remove(0));
    second.reach.cut_off(&[first.partitions().swap_remove(1)]);
    first.reach.cut_off(&[lacks]);
    group.until_stalled(&first).await;
    group.until_told_by(2).await;
    assert!(first.is_in_group() && second.is_in_group());
    assert_eq!(group.given_up("broker"), 0);
    assert!(second.partitions().contains(&works));
    // One that reaches as much, and the partition besides, is evidence.
    second.reach.cut_off(&[]);
    group.until_left(&first).await;
    group.until_all_is_applied().await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_member_that_gave_up_joins_again_after_its_own_check() {
    let group = Group::start().await;
    let (proxy, cut_off) = group.join_through_a_proxy().await;
    let other = group.join_directly();
    group.until_shared_by(&[&cut_off, &other]).await;
    proxy.silence_all();
    group.until_left(&cut_off).await;
    group.until_shared_by(&[&other]).await;
    assert!(!cut_off.is_in_group());
    let served_since = Instant::now();
    proxy.serve();
    group.until("the member is in its group", || if cut_off.is_in_group() { Ok(()) } else { Err(()) }).await;
    assert!(served_since.elapsed() >= TIMES.first_cool_down, "{:?}", served_since.elapsed());
    group.until_shared_by(&[&cut_off, &other]).await;
    group.until_all_is_applied().await;
    cut_off.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_member_joins_at_once_when_the_group_is_empty() {
    let mut group = Group::start().await;
    group.times.first_cool_down = Duration::from_secs(3_600);
    group.times.longest_cool_down = Duration::from_secs(3_600);
    let (proxy, cut_off) = group.join_through_a_proxy().await;
    let other = group.join_directly();
    group.until_shared_by(&[&cut_off, &other]).await;
    proxy.silence_all();
    group.until_left(&cut_off).await;
    proxy.serve();
    other.stop().await;
    group.until_shared_by(&[&cut_off]).await;
    group.until_all_is_applied().await;
    cut_off.stop().await;
}

#[tokio::test]
async fn a_group_is_never_left_by_its_last_member() {
    let mut group = Group::start().await;
    group.times.first_cool_down = Duration::from_secs(3_600);
    group.times.longest_cool_down = Duration::from_secs(3_600);
    let (first, last) = (group.join_directly(), group.join_directly());
    group.until_shared_by(&[&first, &last]).await;
    first.reach.cut_off(&first.partitions()[..1]);
    group.until_left(&first).await;
    group.until_shared_by(&[&last]).await;
    // Outside, it reaches everything.
    first.reach.cut_off(&[]);
    last.reach.cut_off(&last.partitions()[..1]);
    group.until_stalled(&last).await;
    group.until_told_by(2).await;
    assert!(last.is_in_group(), "{}", last.out_of_group());
    assert_eq!(group.given_up("broker"), 1);
    last.reach.cut_off(&[]);
    group.until_all_is_applied().await;
    first.stop().await;
    last.stop().await;
}

#[tokio::test]
async fn a_worker_of_a_revoked_partition_ends_also_while_the_database_does_not_answer() {
    let group = Group::start().await;
    let (proxy, cut_off) = group.join_through_a_proxy().await;
    group.until_shared_by(&[&cut_off]).await;
    proxy.silence_all();
    group.until_stalled(&cut_off).await;
    let other = group.join_directly();
    group
        .until("the revoked partitions are no longer its own", || {
            let (theirs, mine) = (other.partitions(), cut_off.partitions());
            let both: BTreeSet<_> = theirs.iter().filter(|partition| mine.contains(partition)).collect();
            if !theirs.is_empty() && both.is_empty() { Ok(()) } else { Err((theirs, mine)) }
        })
        .await;
    proxy.serve();
    cut_off.stop().await;
    other.stop().await;
}
