//! Refuses what pages of other sites send to the helpers that speak HTTP.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use contracts::http::AllowedHosts;

/// These routes, for programs of this machine and for pages that these serve themselves. gRPC needs no such layer: it is
/// HTTP/2 without TLS, which no browser speaks.
pub(crate) fn guarded(routes: Router) -> Router {
    routes.layer(middleware::from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    match AllowedHosts::default().admit(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => (refusal.status(), format!("{refusal}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use crate::otlp::OtlpReceiver;
    use crate::registry::EmbeddedRegistry;

    async fn status(address: &str, head: &str) -> u16 {
        let address: SocketAddr = address.trim_start_matches("http://").parse().unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn the_helpers_refuse_other_hosts_and_other_sites() {
        let registry = EmbeddedRegistry::start_anywhere().await.unwrap();
        let receiver = OtlpReceiver::start().await.unwrap();
        let (registry, receiver) = (registry.url(), receiver.url());
        for (address, path, found) in
            [(&registry, "/subjects", 200), (&receiver, "/api/traces?service=order", 200)]
        {
            for (host, expected) in
                [("127.0.0.1:1", found), ("localhost", found), ("rebound.example", 421), ("", 400)]
            {
                let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
                assert_eq!(status(address, &head).await, expected, "{address} {head:?}");
            }
            assert_eq!(status(address, &format!("GET {path} HTTP/1.1\r\n")).await, 400, "{path}");
        }
        for (address, request) in [(&registry, "PUT /config"), (&receiver, "POST /v1/traces")] {
            for headers in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
                let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{headers}");
                assert_eq!(status(address, &head).await, 403, "{address} {head:?}");
            }
        }
    }
}
