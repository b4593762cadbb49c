//! HTTP as all programs speak it: clients, which all use rustls with the cryptography of ring, and the hosts of servers.

mod hosts;

use std::sync::Once;
use std::time::Duration;

pub use hosts::{AllowedHosts, InvalidHost, Refusal};

/// How long connecting may take. How long an answer may take is the callers' to say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A builder of clients. reqwest is compiled without a cryptographic library of its own (`rustls-no-provider`) and panics
/// where the process has none: this gives the process ring, unless the program chose another before.
#[expect(clippy::disallowed_methods, reason = "this file makes the clients")]
pub fn client() -> reqwest::ClientBuilder {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error says that the program has chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT)
}
