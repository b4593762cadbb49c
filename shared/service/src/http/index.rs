//! `/` of each service: links to its documentation, health and metrics, as a page for browsers and JSON for other clients.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::openapi::Info;

/// What each service serves beside its own routes: the name of the link, its address, its text.
const LINKS: [(&str, &str, &str); 5] = [
    ("documentation", "/docs/", "API documentation"),
    ("openapi", "/openapi.json", "OpenAPI description"),
    ("ready", "/health/ready", "readiness of each component"),
    ("live", "/health/live", "liveness"),
    ("metrics", "/metrics", "metrics in Prometheus' text format"),
];

/// What `/` answers.
#[derive(Clone, Debug)]
pub(super) struct Index {
    json: Value,
    html: Arc<str>,
}

impl Index {
    /// That of the API with this title and description.
    pub(super) fn new(info: &Info) -> Self {
        let (title, description) = (info.title.as_str(), info.description.as_deref().unwrap_or_default());
        let links: Map<String, Value> =
            LINKS.into_iter().map(|(name, address, _)| (name.to_owned(), address.into())).collect();
        let (title, description) = (escaped(title), escaped(description));
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<p>{description}</p>\n<ul>\n"
        );
        for (_, address, text) in LINKS {
            let _ = writeln!(html, "<li><a href=\"{address}\">{text}</a></li>");
        }
        html.push_str("</ul>\n</html>\n");
        let json = json!({ "title": title, "description": description, "links": links });
        Self { json, html: html.into() }
    }

    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        // Browsers name text/html first, curl and HTTP libraries do not name it.
        if accepts.is_some_and(|accept| accept.contains("text/html")) {
            Html(self.html.to_string()).into_response()
        } else {
            axum::Json(&self.json).into_response()
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_shown_as_text() {
        let index = Index::new(&Info::new("a <b> & \"c\"", "1"));
        assert!(index.html.contains("<h1>a &lt;b&gt; &amp; &quot;c&quot;</h1>"), "{}", index.html);
    }
}
