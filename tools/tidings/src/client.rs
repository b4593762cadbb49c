//! The services' HTTP edges, as a client of theirs sees them.

use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

/// How long one request may take, connection included; longer than the services' own limits.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// One service's edge under its base URL.
#[derive(Clone)]
pub struct Client {
    base: String,
    http: reqwest::Client,
}

/// An order as `GET /orders/{id}` shows it; fields that only people read are left out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OrderView {
    /// Its id.
    pub order_id: Uuid,
    /// `placed`, `confirmed` or `cancelled`.
    pub status: String,
    /// Why it was cancelled.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// When it ended, by the service's clock.
    #[serde(default)]
    pub ended_at: Option<DateTime<Utc>>,
}

impl OrderView {
    /// The end in one word with its reason: `confirmed`, `cancelled: out_of_stock`.
    pub fn end(&self) -> Option<String> {
        self.ended_at?;
        Some(match &self.reason {
            Some(reason) => format!("{}: {reason}", self.status),
            None => self.status.clone(),
        })
    }
}

/// A page of orders.
#[derive(Clone, Debug, Deserialize)]
pub struct OrderPage {
    /// The orders, as far as a list shows them.
    pub orders: Vec<OrderSummary>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// An order in a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OrderSummary {
    /// Its id.
    pub order_id: Uuid,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// 2xx.
    Done {
        /// The body.
        body: T,
        /// Whether the service had answered this request before (`Idempotent-Replayed`).
        replayed: bool,
    },
    /// 4xx: the request is at fault; repeating it changes nothing.
    Rejected(String),
    /// 5xx, 408, 429 or no answer: unknown; repeat with the same Idempotency-Key.
    Unknown(String),
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.shown()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the service at `base`, such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// When `base` is no URL or the HTTP client can't be built.
    pub fn try_new(base: &str) -> anyhow::Result<Self> {
        let url: reqwest::Url = base.parse().with_context(|| format!("{} is not a URL", shown(base)))?;
        if !matches!(url.scheme(), "http" | "https") || !redaction::is_url(base) {
            bail!("{} is not an http URL", shown(base));
        }
        let http = contracts::http::client()
            .connect_timeout(Duration::from_secs(5))
            .timeout(REQUEST_TIMEOUT)
            .build()
            .context("building the HTTP client")?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), http })
    }

    /// Where this client talks to.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The same as it may be printed.
    pub fn shown(&self) -> String {
        redaction::url(&self.base)
    }

    /// Posts `body` to `path` under this Idempotency-Key.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, key: &str, body: &Value) -> Answer<T> {
        let request =
            self.http.post(format!("{}{path}", self.base)).header("Idempotency-Key", key).json(body);
        answer(request.send().await).await
    }

    /// Gets `path`, query included.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Answer<T> {
        answer(self.http.get(format!("{}{path}", self.base)).send().await).await
    }

    /// Places an order.
    pub async fn place_order(&self, key: &str, order: &Value) -> Answer<OrderView> {
        self.post("/orders", key, order).await
    }

    /// The order's present state.
    pub async fn order(&self, order_id: Uuid) -> Answer<OrderView> {
        self.get(&format!("/orders/{order_id}")).await
    }

    /// Ids of all orders that have not ended: those not on the list had ended when it was read.
    ///
    /// # Errors
    /// When a page can't be read.
    pub async fn open_orders(&self) -> anyhow::Result<Vec<Uuid>> {
        let mut open = Vec::new();
        let mut cursor = String::new();
        loop {
            let page: OrderPage =
                self.get(&format!("/orders?status=placed&limit=100{cursor}")).await.into_result()?;
            open.extend(page.orders.iter().map(|order| order.order_id));
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={}", encode(&next)),
                None => return Ok(open),
            }
        }
    }

    /// Gives `sku` more units, idempotently by `key`.
    pub async fn replenish(&self, sku: &str, key: &str, quantity: u64) -> Answer<Value> {
        let path = format!("/stock/{}/replenishments", encode(sku));
        self.post(&path, key, &serde_json::json!({ "quantity": quantity })).await
    }

    /// Whether the service says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let request = self.http.get(format!("{}/health/ready", self.base)).timeout(Duration::from_secs(5));
        request.send().await.is_ok_and(|response| response.status().is_success())
    }
}

impl<T> Answer<T> {
    /// The body, or any other answer as an error.
    ///
    /// # Errors
    /// When the answer is not 2xx.
    pub fn into_result(self) -> anyhow::Result<T> {
        match self {
            Self::Done { body, .. } => Ok(body),
            Self::Rejected(why) | Self::Unknown(why) => bail!(why),
        }
    }
}

async fn answer<T: DeserializeOwned>(sent: reqwest::Result<Response>) -> Answer<T> {
    let response = match sent {
        Ok(response) => response,
        Err(error) => return Answer::Unknown(chain(&error)),
    };
    let status = response.status();
    let replayed = response.headers().get("idempotent-replayed").is_some_and(|value| value == "true");
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return Answer::Unknown(format!("{status}: {}", chain(&error))),
    };
    if status.is_success() {
        return match serde_json::from_slice(&body) {
            Ok(body) => Answer::Done { body, replayed },
            Err(error) => Answer::Rejected(format!("{status} with a body that can't be read: {error}")),
        };
    }
    let why = format!("{status}: {}", String::from_utf8_lossy(&body));
    let is_transient = status.is_server_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS;
    if is_transient { Answer::Unknown(why) } else { Answer::Rejected(why) }
}

/// What was taken for a URL, as it may be printed.
fn shown(base: &str) -> String {
    format!("{:?}", redaction::text(base))
}

/// An error with what caused it; reqwest's own text stops at "error sending request".
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Percent-encodes one path segment or query value (RFC 3986's unreserved characters stay).
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_with_spaces_or_slashes_is_one_path_segment() {
        assert_eq!(encode("BANK CHARGES"), "BANK%20CHARGES");
        assert_eq!(encode("a/b?c"), "a%2Fb%3Fc");
        assert_eq!(encode("gift_0001_20"), "gift_0001_20");
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for base in ["ftp://u:hunter2@h", "u:hunter2@h", "http://u:12/hunter2@h", "http://u:hunter2"] {
            let error = format!("{:#}", Client::try_new(base).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
        let client = Client::try_new("http://u:hunter2@h:1/").unwrap();
        assert_eq!(client.base(), "http://u:hunter2@h:1");
        assert!(!format!("{client:?} {}", client.shown()).contains("hunter2"));
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        assert!(Client::try_new("127.0.0.1:8080").is_err());
        assert!(Client::try_new("ftp://127.0.0.1").is_err());
        assert_eq!(Client::try_new("http://127.0.0.1:1/").unwrap().base(), "http://127.0.0.1:1");
    }
}
