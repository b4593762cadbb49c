//! Configuration without its secrets.

use toml::Value;

/// What stands in the place of a secret.
const REDACTED: &str = "(redacted)";

/// Parts of key names whose values are secret.
const SECRET: [&str; 6] = ["password", "secret", "credential", "api_key", "private_key", "access_token"];

/// Hides passwords in URLs, and values whose key says that they are secret.
pub(super) fn value(value: &mut Value) {
    match value {
        Value::Table(table) => {
            for (key, inner) in table.iter_mut() {
                let key = key.to_ascii_lowercase();
                if SECRET.iter().any(|word| key.contains(word)) && inner.as_str() != Some("") {
                    *inner = Value::String(REDACTED.to_owned());
                } else {
                    self::value(inner);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(self::value),
        Value::String(text) => *text = url(text),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

/// The same text, without the password if it is a URL that contains one.
pub(crate) fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority_ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_ends);
    // The last @: an unescaped one in a password must not spill the half behind it.
    let Some((user, host)) = authority.rsplit_once('@') else { return without_parameters(text) };
    let user = user.split(':').next().unwrap_or_default();
    let password = if authority.contains(':') && user.len() + 1 + host.len() < authority.len() {
        format!(":{REDACTED}")
    } else {
        String::new()
    };
    without_parameters(&format!("{scheme}://{user}{password}@{host}{tail}"))
}

/// PostgreSQL takes `?password=...` too.
fn without_parameters(url: &str) -> String {
    let Some((base, query)) = url.split_once('?') else { return url.to_owned() };
    let query: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if SECRET.iter().any(|word| name.to_ascii_lowercase().contains(word)) => {
                format!("{name}={REDACTED}")
            }
            _ => pair.to_owned(),
        })
        .collect();
    format!("{base}?{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_never_stay_in_urls() {
        for (given, shown) in [
            ("postgres://u:hunter2@db:5432/x", "postgres://u:(redacted)@db:5432/x"),
            ("postgres://u:hun@ter2@db/x", "postgres://u:(redacted)@db/x"),
            ("postgres://u@db/x", "postgres://u@db/x"),
            ("postgres://db:5432/x", "postgres://db:5432/x"),
            (
                "postgres://db/x?password=hunter2&sslmode=require",
                "postgres://db/x?password=(redacted)&sslmode=require",
            ),
            ("smtp://u:hunter2@mail", "smtp://u:(redacted)@mail"),
            ("no url: a@b", "no url: a@b"),
        ] {
            assert_eq!(url(given), shown);
        }
    }

    #[test]
    fn keys_that_name_secrets_hide_their_values() {
        let mut config: Value =
            toml::from_str("[smtp]\npassword = 'hunter2'\nuser = 'u'\nurls = ['http://a:hunter2@b']")
                .unwrap();
        value(&mut config);
        let shown = toml::to_string(&config).unwrap();
        assert!(!shown.contains("hunter2") && shown.contains("user = \"u\""), "{shown}");
    }
}
