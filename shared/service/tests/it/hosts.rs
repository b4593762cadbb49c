//! Requests under another host's name, and requests that pages of other sites send: raw, as no HTTP client would send them.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::lifecycle::orders;
use crate::stack::{Process, Stack, WAIT_TIMEOUT};

/// A host that the tests allow.
const ALLOWED: &[(&str, &str)] = &[("TIDINGS_HTTP__ALLOWED_HOSTS", "orders.example.org, .shop.example")];

/// The status of the answer to this head, of a request without a body.
async fn status(service: &Process, head: &str) -> (u16, String) {
    let address = service.url.trim_start_matches("http://");
    let asking = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::time::timeout(WAIT_TIMEOUT, asking).await.unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {answer}")), answer)
}

#[tokio::test]
async fn a_request_to_another_host_is_misdirected_except_for_health_and_metrics() {
    let stack = Stack::start().await;
    let service = stack.service(ALLOWED).await;
    for (host, expected, kind) in [
        ("127.0.0.1:8081", 200, ""),
        ("[::1]", 200, ""),
        ("192.0.2.7:80", 200, ""),
        ("localhost", 200, ""),
        ("LocalHost:1", 200, ""),
        ("orders.example.org", 200, ""),
        ("ORDERS.example.org.:443", 200, ""),
        ("eu.shop.example", 200, ""),
        ("shop.example", 421, "misdirected-request"),
        ("evil-shop.example", 421, "misdirected-request"),
        ("rebound.example", 421, "misdirected-request"),
        ("orders.example.org.rebound.example", 421, "misdirected-request"),
        ("127.0.0.1.rebound.example", 421, "misdirected-request"),
        ("localhost.rebound.example:8081", 421, "misdirected-request"),
        ("", 400, "invalid-host"),
        ("localhost, rebound.example", 400, "invalid-host"),
        ("rebound.example@localhost", 400, "invalid-host"),
        ("localhost:port", 400, "invalid-host"),
        ("localhost\r\nHost: localhost", 400, "invalid-host"),
    ] {
        let (found, answer) =
            status(&service, &format!("GET /page?limit=1 HTTP/1.1\r\nHost: {host}\r\n")).await;
        assert_eq!(found, expected, "{host:?}: {answer}");
        assert!(answer.contains(kind), "{host:?}: {answer}");
    }
    for (head, expected) in [
        ("GET /page?limit=1 HTTP/1.1\r\n", 400),
        ("GET /page?limit=1 HTTP/1.0\r\n", 400),
        ("GET http://rebound.example/page?limit=1 HTTP/1.1\r\nHost: localhost\r\n", 421),
        ("GET http://localhost/page?limit=1 HTTP/1.1\r\nHost: localhost\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: rebound.example\r\n", 421),
        ("GET /openapi.json HTTP/1.1\r\nHost: rebound.example\r\n", 421),
        ("GET /nowhere HTTP/1.1\r\nHost: rebound.example\r\n", 421),
        ("GET /dead-letters HTTP/1.1\r\nHost: rebound.example\r\n", 421),
        // Probes come by any name, or by none.
        ("GET /health/live HTTP/1.1\r\nHost: rebound.example\r\n", 200),
        ("GET /health/ready HTTP/1.0\r\n", 200),
        ("GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n", 200),
    ] {
        let (found, answer) = status(&service, head).await;
        assert_eq!(found, expected, "{head:?}: {answer}");
    }
}

#[tokio::test]
async fn an_unsafe_request_that_another_site_sends_changes_nothing() {
    let stack = Stack::start().await;
    let service = stack.service(ALLOWED).await;
    let id = contracts::clock::new_id();
    for (method, headers, expected) in [
        ("POST", "Host: localhost:80\r\nOrigin: http://evil.example\r\n", 403),
        ("POST", "Host: localhost:8081\r\nOrigin: http://localhost:3000\r\n", 403),
        ("POST", "Host: localhost\r\nOrigin: null\r\n", 403),
        ("POST", "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://localhost\r\n", 403),
        ("POST", "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("POST", "Host: localhost\r\nSec-Fetch-Site: same-site\r\n", 403),
        ("POST", "Host: localhost\r\nOrigin: http://localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("PUT", "Host: localhost\r\nOrigin: http://evil.example\r\n", 403),
        ("PATCH", "Host: localhost\r\nOrigin: http://evil.example\r\n", 403),
        ("DELETE", "Host: localhost\r\nOrigin: http://evil.example\r\n", 403),
        ("GET", "Host: localhost\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n", 405),
    ] {
        let head = format!("{method} /confirm/{id} HTTP/1.1\r\n{headers}Content-Length: 0\r\n");
        let (found, answer) = status(&service, &head).await;
        assert_eq!(found, expected, "{head:?}: {answer}");
        if expected == 403 {
            assert!(answer.contains("urn:tidings:problem:cross-origin-request"), "{answer}");
        }
    }
    assert!(orders(&stack, "confirmed").await.is_empty());
    for headers in [
        "Host: localhost\r\n",
        "Host: localhost:8081\r\nOrigin: http://localhost:8081\r\n",
        "Host: localhost:80\r\nOrigin: http://LOCALHOST\r\nSec-Fetch-Site: same-origin\r\n",
        "Host: orders.example.org\r\nOrigin: https://orders.example.org:443\r\n",
        // A person's own doing, such as a bookmark.
        "Host: localhost\r\nSec-Fetch-Site: none\r\n",
    ] {
        let id = contracts::clock::new_id();
        let head = format!("POST /confirm/{id} HTTP/1.1\r\n{headers}Content-Length: 0\r\n");
        let (found, answer) = status(&service, &head).await;
        assert_eq!(found, 202, "{head:?}: {answer}");
    }
    assert_eq!(orders(&stack, "confirmed").await.len(), 5);
}
