//! What is asked of a registry.

use std::sync::Arc;

use contracts::{Codec, RegistryConfig, Topics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// A registry that knows no schema, and says so only once eight have been asked for.
async fn ignorant_registry() -> (RegistryConfig, JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (asked, mut conversations) = (Arc::new(Barrier::new(8)), JoinSet::new());
        while let Ok((mut client, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            conversations.spawn(async move {
                let mut request = [0; 1024];
                assert!(client.read(&mut request).await.unwrap() > 0);
                asked.wait().await;
                let body = r#"{"error_code":40403,"message":"Schema not found"}"#;
                let answer = format!(
                    "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                client.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    (RegistryConfig { url, auto_register_schemas: false }, tasks)
}

#[tokio::test]
async fn unknown_schemas_are_asked_for_several_at_once() {
    let (config, _serving) = ignorant_registry().await;
    let codec = Codec::connect(&config, Topics::default(), &[], &[]).await.unwrap();
    let values: Vec<[u8; 6]> = (1..=16).map(|id| [0, 0, 0, 0, id, 0]).collect();
    let unknown = codec.learn(values.iter().map(<[u8; 6]>::as_slice)).await.unwrap();
    assert_eq!(unknown, (1..=16).collect());
}
