//! Requests that come twice, and what can't be asked for.

use std::collections::BTreeSet;

use futures::future::join_all;
use system::{System, request};
use tidings::client::Answer;
use tidings::services::ServiceName;
use tidings::verify::check::Check;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_fifty_times_at_once_places_one_order() -> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 100).await?;
    let client = system.client(ServiceName::Order)?;
    let body = request("TEAPOT", 1, "tok_visa");
    let answers = join_all((0..50).map(|_| client.place_order("the-same-key", &body))).await;
    let mut orders = BTreeSet::new();
    let mut first_answers = 0;
    for answer in answers {
        match answer {
            Answer::Done { body, replayed } => {
                orders.insert(body.order_id);
                first_answers += usize::from(!replayed);
            }
            Answer::Rejected(why) | Answer::Unknown(why) => anyhow::bail!(why),
        }
    }
    assert_eq!((orders.len(), first_answers), (1, 1));

    let other = client.place_order("the-same-key", &request("TEAPOT", 2, "tok_visa")).await;
    assert!(matches!(&other, Answer::Rejected(why) if why.contains("422")), "{other:?}");

    let order_id = orders.into_iter().next().expect("one order");
    assert_eq!(system.ended(order_id).await.end().as_deref(), Some("confirmed"));
    let report = system.verify().await?;
    assert!(report.holds(), "{report}");
    assert_eq!(report.outcome(Check::Ends).map(|ends| ends.compared), Some(1));
    system.stop().await
}
