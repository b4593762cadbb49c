//! `--check-health`: asks the service that runs beside it whether it is ready, for supervisors that have no HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::config::HttpConfig;

/// Longer than the service takes to ask its database and its broker.
const TIMEOUT: Duration = Duration::from_secs(5);

/// # Errors
/// When the service doesn't answer, or says that it is not ready; its report is part of the message.
pub(crate) async fn check_health(config: &HttpConfig) -> anyhow::Result<()> {
    let address = reachable(config.listen.parse()?);
    let url = format!("http://{address}/health/ready");
    let asking = async {
        let answer = contracts::http::client().no_proxy().build()?.get(&url).send().await?;
        anyhow::Ok((answer.status(), answer.text().await?))
    };
    let answer = tokio::time::timeout(TIMEOUT, asking).await;
    let (status, report) = answer.with_context(|| format!("no answer from {url} in {TIMEOUT:?}"))??;
    if !status.is_success() {
        bail!("{url} answers {status}: {report}");
    }
    println!("{report}");
    Ok(())
}

/// Where a service that listens everywhere can be asked from within.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn a_service_that_listens_everywhere_is_asked_over_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("127.0.0.1:8081", "127.0.0.1:8081"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
