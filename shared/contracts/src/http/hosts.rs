//! Which requests a server on a private address answers: those to its own names, and not what other sites' pages send.
//!
//! A page of any site may send requests to a loopback or private address. It can read the answers once it has rebound its
//! own name to that address, and then the `Host` is its name. Without rebinding it can't read them, but its plain forms
//! still arrive, with its `Origin` ([Fetch](https://fetch.spec.whatwg.org/#origin-header)). Programs send no `Origin`.

use std::net::{Ipv4Addr, Ipv6Addr};

use ::http::header::{HOST, ORIGIN};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// [Fetch metadata](https://www.w3.org/TR/fetch-metadata/), which all current browsers send to trustworthy addresses.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names under which a server is addressed, besides `localhost` and all addresses: rebinding needs a name, so that an
/// address in `Host` can't be another site's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<Box<str>>);

/// An entry of a list of hosts that can be no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host name: names are separated by commas and have no scheme, port or wildcard")]
pub struct InvalidHost(pub String);

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400 (RFC 9112, section 3.2).
    #[error("exactly one header Host with a host and an optional port is required")]
    InvalidHost,
    /// 421 (RFC 9110, section 15.5.20).
    #[error("this server is not addressed by that host name")]
    ForeignHost,
    /// 403.
    #[error("a request that changes something is not taken from the page of another origin")]
    CrossOrigin,
}

impl Refusal {
    /// The status of the answer.
    pub const fn status(self) -> ::http::StatusCode {
        match self {
            Self::InvalidHost => ::http::StatusCode::BAD_REQUEST,
            Self::ForeignHost => ::http::StatusCode::MISDIRECTED_REQUEST,
            Self::CrossOrigin => ::http::StatusCode::FORBIDDEN,
        }
    }
}

impl AllowedHosts {
    /// The hosts of a list such as `orders.example.org, .shop.example`: a leading dot allows all names below a domain.
    ///
    /// # Errors
    /// When an entry can be no host.
    pub fn try_new(list: &str) -> Result<Self, InvalidHost> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let hosts: Result<_, _> = entries
            .map(|entry| match Authority::parse(entry.strip_prefix('.').unwrap_or(entry)) {
                Some(Authority { port: None, .. }) => Ok(normalized(entry).into()),
                _ => Err(InvalidHost(entry.to_owned())),
            })
            .collect();
        hosts.map(Self)
    }

    /// Whether a request with this head is to be answered.
    ///
    /// # Errors
    /// Why it is not.
    pub fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = only(headers, &HOST).and_then(Authority::parse).ok_or(Refusal::InvalidHost)?;
        // In absolute form the target's authority replaces the header (RFC 9112, section 3.2.2): both must be ours.
        let target = match uri.authority().map(|authority| Authority::parse(authority.as_str())) {
            Some(target) => target.ok_or(Refusal::InvalidHost)?,
            None => host.clone(),
        };
        if !self.contains(&host) || !self.contains(&target) {
            return Err(Refusal::ForeignHost);
        }
        if method.is_safe() || is_same_origin(headers, &target) { Ok(()) } else { Err(Refusal::CrossOrigin) }
    }

    fn contains(&self, host: &Authority) -> bool {
        let name = host.host.as_str();
        let is_address = name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok();
        let is_local = name == "localhost" || name.ends_with(".localhost");
        let is_listed = |entry: &str| {
            if entry.starts_with('.') {
                name.len() > entry.len() && name.ends_with(entry)
            } else {
                name == entry
            }
        };
        is_address || is_local || self.0.iter().any(|entry| is_listed(entry))
    }
}

/// Whether no page of another origin has sent this, as far as a browser tells: in `Sec-Fetch-Site`, else in `Origin`.
fn is_same_origin(headers: &HeaderMap, host: &Authority) -> bool {
    if headers.contains_key(&SEC_FETCH_SITE) {
        return matches!(only(headers, &SEC_FETCH_SITE), Some("same-origin" | "none"));
    }
    if !headers.contains_key(&ORIGIN) {
        return true;
    }
    let Some((scheme, origin)) = only(headers, &ORIGIN).and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    Authority::parse(origin).is_some_and(|origin| {
        origin.host == host.host && origin.port.unwrap_or(default_port) == host.port.unwrap_or(default_port)
    })
}

/// The value of a header that stands there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(value)), None) => Some(value.trim()),
        _ => None,
    }
}

/// A host, as it is compared, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    /// `host[:port]`, without user information.
    fn parse(text: &str) -> Option<Self> {
        let end =
            if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
        let (host, rest) = text.split_at(end);
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            Some("") => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
            _ => return None,
        };
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => {
                let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
                host.bytes().all(of_a_name) && !host.starts_with('.') && !normalized(host).is_empty()
            }
        };
        is_host.then(|| Self { host: normalized(host), port })
    }
}

/// Without the dot of the root, in lower case.
fn normalized(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_hosts_has_names_only() {
        for list in ["", "a", "orders.example.org,.shop.example", " A. , b ", "192.0.2.7", "[::1]"] {
            assert!(AllowedHosts::try_new(list).is_ok(), "{list}");
        }
        for (list, wrong) in [
            ("http://a", "http://a"),
            ("a, b:80", "b:80"),
            ("*.a", "*.a"),
            ("..a", "..a"),
            (".", "."),
            ("a b", "a b"),
        ] {
            assert_eq!(AllowedHosts::try_new(list), Err(InvalidHost(wrong.to_owned())), "{list}");
        }
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for (text, expected) in [
            ("Localhost:80", Some(("localhost", Some(80)))),
            ("localhost.", Some(("localhost", None))),
            ("localhost:", Some(("localhost", None))),
            ("[::1]:8080", Some(("[::1]", Some(8080)))),
            ("", None),
            (":80", None),
            (".", None),
            ("[::1", None),
            ("[localhost]", None),
            ("[::1]80", None),
            ("localhost:65536", None),
            ("localhost:+1", None),
            ("user@localhost", None),
            ("localhost/path", None),
        ] {
            let found = Authority::parse(text);
            let found = found.as_ref().map(|found| (found.host.as_str(), found.port));
            assert_eq!(found, expected, "{text}");
        }
    }
}
