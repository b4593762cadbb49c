//! Whose a connection is, and the connections without a place, which are served health and metrics.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

use tokio::task::AbortHandle;

/// Whom an address belongs to: an IPv6 client has all addresses of its /64.
pub(super) fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Connections without a place, the newest ones: each further one ends the oldest, so that those who open connections and say nothing
/// keep no probe out.
#[derive(Debug)]
pub(super) struct Reserve {
    max: usize,
    connections: VecDeque<AbortHandle>,
}

impl Reserve {
    pub(super) const fn new(max: usize) -> Self {
        Self { max, connections: VecDeque::new() }
    }

    pub(super) fn push(&mut self, connection: AbortHandle) {
        if self.connections.len() >= self.max {
            self.connections.retain(|connection| !connection.is_finished());
        }
        if self.connections.len() >= self.max
            && let Some(oldest) = self.connections.pop_front()
        {
            oldest.abort();
        }
        self.connections.push_back(connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_all_addresses_of_its_network() {
        let of = |address: &str| peer(address.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
