//! Settings as they may be printed: only what was parsed is shown, and a password never.

mod secret;

use std::path::Path;

pub use secret::Secret;

/// What stands in the place of a secret.
pub const REDACTED: &str = "(redacted)";

/// Schemes of URLs. Another one may be a user whose password begins with `//`.
const SCHEMES: [&str; 7] = ["grpc", "http", "https", "postgres", "postgresql", "smtp", "smtps"];

/// What a parameter can be. The name of any other one is hidden too: it may be a part of a password.
#[derive(Clone, Copy)]
enum Parameter {
    Name,
    Number,
    Path,
    Word,
}

impl Parameter {
    fn named(name: &str) -> Option<Self> {
        match name {
            "application_name" | "dbname" | "host" | "hostaddr" | "options" | "user" => Some(Self::Name),
            "connect_timeout" | "port" | "statement-cache-capacity" => Some(Self::Number),
            "ssl-ca" | "ssl-cert" | "ssl-key" | "ssl-root-cert" | "sslcert" | "sslkey" | "sslrootcert" => {
                Some(Self::Path)
            }
            "ssl-mode" | "sslmode" | "target_session_attrs" | "tls" => Some(Self::Word),
            _ => None,
        }
    }

    fn can_be(self, value: &str) -> bool {
        match self {
            Self::Name => plain(value).is_some(),
            Self::Number => value.parse::<u32>().is_ok(),
            Self::Path => plain(value).is_some() && (!value.contains('/') || path(Path::new(value)) == value),
            Self::Word => WORDS.contains(&value),
        }
    }
}

/// Values of parameters.
const WORDS: [&str; 12] = [
    "allow",
    "any",
    "disable",
    "opportunistic",
    "prefer",
    "primary",
    "read-only",
    "read-write",
    "require",
    "required",
    "verify-ca",
    "verify-full",
];

/// The URL without its password and its unknown parameters, or `(redacted)` where it can't be parsed.
#[must_use]
pub fn url(text: &str) -> String {
    parsed(text).unwrap_or_else(|| REDACTED.to_owned())
}

/// Whether it is a URL of which everything but its password can be shown.
#[must_use]
pub fn is_url(text: &str) -> bool {
    parsed(text).is_some()
}

/// Any other setting: text as it is, unless it may be a URL or hold credentials (`user:password@host`).
#[must_use]
pub fn text(text: &str) -> String {
    let has_credentials = text.split('@').rev().skip(1).any(|before| {
        let word = before.rsplit(char::is_whitespace).next().unwrap_or_default();
        word.contains(':')
    });
    if text.contains("://") {
        url(text)
    } else if has_credentials {
        REDACTED.to_owned()
    } else {
        text.to_owned()
    }
}

/// The path of a file, if it is absolute and its directory exists: any other text may be the secret itself.
#[must_use]
pub fn path(path: &Path) -> String {
    let directory = path.parent().filter(|directory| directory.parent().is_some());
    let is_known = path.is_absolute() && directory.is_some_and(Path::is_dir);
    if is_known { path.display().to_string() } else { REDACTED.to_owned() }
}

fn parsed(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (path, query) = match tail.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (tail, None),
    };
    // An @ behind the authority: a password with an unescaped / ? or # has ended it too early. A parameter may be the password.
    let mut others =
        query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.starts_with("password="));
    if !is_scheme || tail.contains('#') || path.contains('@') || others.any(|pair| pair.contains('@')) {
        return None;
    }
    let (credentials, host) = match authority.rsplit_once('@') {
        Some((credentials, host)) => (Some(credentials), host),
        None => (None, authority),
    };
    let credentials = match credentials.map(|credentials| credentials.split_once(':')) {
        None => String::new(),
        Some(None) => format!("{}@", graphic(credentials?)?),
        Some(Some((user, ""))) => format!("{}:@", graphic(user)?),
        Some(Some((user, _))) => format!("{}:{REDACTED}@", graphic(user)?),
    };
    let query = query.map_or_else(String::new, |query| format!("?{}", parameters(query)));
    Some(format!("{scheme}://{credentials}{}{}{query}", hosts(host)?, graphic(path)?))
}

fn parameters(query: &str) -> String {
    let shown = query.split('&').map(|pair| match pair.split_once('=') {
        Some(("password", _)) => format!("password={REDACTED}"),
        Some((name, value)) => match Parameter::named(name) {
            Some(parameter) if parameter.can_be(value) => pair.to_owned(),
            Some(_) => format!("{name}={REDACTED}"),
            None => REDACTED.to_owned(),
        },
        None => REDACTED.to_owned(),
    });
    shown.collect::<Vec<_>>().join("&")
}

/// `host`, `host:port`, `[address]:port`, or a list of them.
fn hosts(text: &str) -> Option<&str> {
    let is_host = |host: &str| {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            _ => (host, None),
        };
        let name_is_plain = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(address) => consists_of(address, |byte| byte.is_ascii_hexdigit() || b":.".contains(&byte)),
            None => plain(name).is_some(),
        };
        name_is_plain && port.is_none_or(|port| port.parse::<u16>().is_ok())
    };
    text.split(',').all(is_host).then_some(text)
}

/// The text, if it has no characters that separate hosts, ports and parameters. `{service}` stands for a name.
fn plain(text: &str) -> Option<&str> {
    consists_of(text, |byte| byte.is_ascii_alphanumeric() || b"-._~%/{},".contains(&byte)).then_some(text)
}

/// The text, if it has no spaces and only ASCII characters.
fn graphic(text: &str) -> Option<&str> {
    consists_of(text, |byte| byte.is_ascii_graphic()).then_some(text)
}

fn consists_of(text: &str, is_allowed: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn passwords_never_stay_in_urls() {
        for (given, shown) in [
            ("postgres://u:hunter2@db:5432/x", "postgres://u:(redacted)@db:5432/x"),
            ("postgres://u:hun@ter2@db/x", "postgres://u:(redacted)@db/x"),
            ("postgres://u@db/x", "postgres://u@db/x"),
            ("postgres://db:5432/x", "postgres://db:5432/x"),
            ("postgres://[::1]:5432/x", "postgres://[::1]:5432/x"),
            (
                "postgres://u:p@{service}-db/data_{service}",
                "postgres://u:(redacted)@{service}-db/data_{service}",
            ),
            (
                "postgres://db/x?password=hunter2&sslmode=require",
                "postgres://db/x?password=(redacted)&sslmode=require",
            ),
            ("postgres://me@h/x?password=hunt@er2", "postgres://me@h/x?password=(redacted)"),
            ("postgres://u:12?a=b&hunter2@db/x", REDACTED),
            ("postgres://db/x?pasword=hunter2", "postgres://db/x?(redacted)"),
            ("postgres://u:hunter/2@db/x", REDACTED),
            ("postgres://u:12/hunter2@db/x", REDACTED),
            ("postgres://u:12?hunter2@db/x", REDACTED),
            ("postgres://u:12#hunter2@db/x", REDACTED),
            ("postgres://u:hunter2", REDACTED),
            ("smtp://u:hunter2@mail", "smtp://u:(redacted)@mail"),
            ("http://127.0.0.1:8085/apis/ccompat/v7", "http://127.0.0.1:8085/apis/ccompat/v7"),
            ("hunter2", REDACTED),
        ] {
            assert_eq!(url(given), shown, "{given}");
        }
    }

    #[test]
    fn other_text_is_shown_unless_it_holds_credentials() {
        for (given, shown) in [
            ("no url: a@b", "no url: a@b"),
            ("Shop <orders@shop.example>", "Shop <orders@shop.example>"),
            ("127.0.0.1:9092,broker:9092", "127.0.0.1:9092,broker:9092"),
            ("u:hunter2@db:5432", REDACTED),
            ("u://hunter2@db:5432", REDACTED),
            ("SSL://u:hunt/er2@db:5432", REDACTED),
        ] {
            assert_eq!(text(given), shown, "{given}");
        }
    }

    #[test]
    fn a_path_is_shown_where_its_directory_exists() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let missing = manifest.join("missing");
        assert_eq!(path(&missing), missing.display().to_string());
        for secret in ["hunter2", "/hunter2", "/hunter/2", "postgres://u:hunter2@db/x"] {
            assert_eq!(path(Path::new(secret)), REDACTED, "{secret}");
        }
    }

    proptest! {
        #[test]
        fn no_part_of_a_password_is_shown(password in "[A-Za-z0-9/?#@:%&=+!~^$*()-]{12,24}") {
            for given in [
                format!("postgres://u:{password}@db:5432/x"),
                format!("postgres://db/x?password={password}"),
                format!("postgres://db/x?sslmode=require&pasword={password}"),
                format!("postgres://db/x?sslmode={password}"),
                format!("u:{password}@db:5432"),
            ] {
                for shown in [url(&given), text(&given), path(Path::new(&given))] {
                    for start in 0..=password.len() - 6 {
                        prop_assert!(!shown.contains(&password[start..start + 6]), "{given}: {shown}");
                    }
                }
            }
        }
    }
}
