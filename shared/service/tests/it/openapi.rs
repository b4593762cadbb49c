//! What the descriptions of all services say of the edge.

use serde_json::Value;

use crate::stack::Stack;

#[tokio::test]
async fn the_problems_of_the_edge_are_described_with_every_route() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let (_, api) = service.get("/openapi.json").await;
    let statuses = |operation: &str| -> Vec<String> {
        let responses = api.pointer(&format!("{operation}/responses")).and_then(Value::as_object);
        responses.map(|responses| responses.keys().cloned().collect()).unwrap_or_default()
    };
    let common = ["400", "413", "415", "421", "500", "503", "504"];
    for status in common {
        assert!(statuses("/paths/~1dead-letters/get").iter().any(|it| it == status), "{status}: {api}");
    }
    assert!(!statuses("/paths/~1dead-letters/get").contains(&"403".to_owned()), "{api}");
    let redrive = "/paths/~1dead-letters~1{id}~1redrive/post";
    assert!(statuses(redrive).contains(&"403".to_owned()), "{api}");
    let refused = api.pointer(&format!("{redrive}/responses/404/content")).unwrap();
    assert_eq!(refused.as_object().unwrap().keys().collect::<Vec<_>>(), ["application/problem+json"]);
    assert_eq!(statuses("/paths/~1health~1live/get"), ["200"]);
    // Each reference leads to a problem.
    let reference = api.pointer(&format!("{redrive}/responses/421/$ref")).and_then(Value::as_str).unwrap();
    let problem = api.pointer(reference.trim_start_matches('#')).unwrap();
    let schema = &problem["content"]["application/problem+json"]["schema"]["$ref"];
    assert!(api.pointer(schema.as_str().unwrap().trim_start_matches('#')).is_some(), "{api}");
}
