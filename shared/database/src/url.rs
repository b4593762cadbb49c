//! The URL of a database: read without a word of it in an error or a log line.

use sqlx::postgres::PgConnectOptions;

/// The parameters that sqlx knows. It logs all others with their values.
const KNOWN: [&str; 17] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
];

/// Why a URL can't be used. It is not shown: it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// A `/`, `?` or `#` has ended the part with user and password too early.
    #[error(
        "in its password, each character other than a letter, a digit and -._~ has to be percent-encoded (/ is %2F, ? is %3F, # is %23)"
    )]
    Unescaped,
    /// It is another text.
    #[error(
        "it has to be postgres://user:password@host:port/database, and a parameter such as sslmode has to have one of its values"
    )]
    Malformed,
}

/// Where and how to connect. Parameters that are not known are ignored.
///
/// # Errors
/// When the text is no such URL.
pub fn connect_options(url: &str) -> Result<PgConnectOptions, UrlError> {
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::Malformed)?;
    let (address, query) = match rest.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (rest, None),
    };
    let path_is_plain = address.split_once('/').is_none_or(|(_, path)| !path.contains('@'));
    if url.contains('#') || !path_is_plain {
        return Err(UrlError::Unescaped);
    }
    let (known, unknown): (Vec<&str>, Vec<&str>) = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|pair| !pair.is_empty())
        .partition(|pair| is_known(pair.split('=').next().unwrap_or_default()));
    if unknown.iter().any(|pair| pair.contains('@')) {
        return Err(UrlError::Unescaped);
    }
    if !unknown.is_empty() {
        tracing::warn!(ignored = unknown.len(), "unknown parameters in a database's URL");
    }
    let parameters = if known.is_empty() { String::new() } else { format!("?{}", known.join("&")) };
    format!("{scheme}://{address}{parameters}").parse().map_err(|_| UrlError::Malformed)
}

fn is_known(name: &str) -> bool {
    name == "user" || name.starts_with("options[") || KNOWN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_would_end_the_address_is_refused() {
        for url in [
            "postgres://u:12/hunter2@db/x",
            "postgres://u:12?hunter2@db/x",
            "postgres://u:12#hunter2@db/x",
            "postgres://u:hunter2@db/x#y",
        ] {
            assert_eq!(connect_options(url).unwrap_err(), UrlError::Unescaped, "{url}");
        }
        for url in
            ["hunter2", "u:hunter2@db/x", "postgres://u:hunter2@db:x/x", "postgres://db/x?sslmode=hunter2"]
        {
            assert_eq!(connect_options(url).unwrap_err(), UrlError::Malformed, "{url}");
        }
    }

    #[test]
    fn known_parameters_are_taken_and_unknown_ones_are_not() {
        let options = connect_options("postgres://u:p%2Fw@db:6432/x?application_name=a&pasword=y").unwrap();
        assert_eq!((options.get_host(), options.get_port()), ("db", 6432));
        assert_eq!((options.get_database(), options.get_application_name()), (Some("x"), Some("a")));
        assert!(connect_options("postgres://db/x?password=p@ss").is_ok());
    }
}
