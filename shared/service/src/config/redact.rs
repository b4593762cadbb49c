//! Configuration without its secrets.

use redaction::REDACTED;
use serde::Serialize;
use toml::Value;

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
        Value::String(text) => *text = redaction::text(text),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

/// A section as it may be printed.
pub(super) fn debug(section: &impl Serialize) -> String {
    match Value::try_from(section) {
        Ok(mut value) => {
            self::value(&mut value);
            value.to_string()
        }
        Err(_) => REDACTED.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
