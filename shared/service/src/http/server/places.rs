//! Which connections may be open: a bounded number, of which one peer has at most half, and a reserve for health and metrics.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// The places of connections, as many as `http.max_connections`.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    max: usize,
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Taken { max, all: 0, by_peer: HashMap::new() })))
    }

    /// A place for a connection from this address, unless all are taken, or half of them by this peer.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let peer = peer(address);
        let mut taken = self.lock();
        let of_peer = taken.by_peer.get(&peer).copied().unwrap_or_default();
        if taken.all >= taken.max || of_peer >= (taken.max / 2).max(1) {
            return None;
        }
        taken.all += 1;
        taken.by_peer.insert(peer, of_peer + 1);
        Some(Place { places: self.clone(), peer })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    peer: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(of_peer) = taken.by_peer.get_mut(&self.peer) {
            *of_peer = of_peer.saturating_sub(1);
            if *of_peer == 0 {
                taken.by_peer.remove(&self.peer);
            }
        }
    }
}

/// Whom an address belongs to: an IPv6 client has all addresses of its /64.
fn peer(address: IpAddr) -> IpAddr {
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
    fn a_peer_has_at_most_half_of_the_places() {
        let places = Places::new(4);
        let take = |address: &str| places.take(address.parse().unwrap());
        let of_one = [take("192.0.2.1").unwrap(), take("::ffff:192.0.2.1").unwrap()];
        assert!(take("192.0.2.1").is_none());
        let of_another = [take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap()];
        assert!(take("192.0.2.2").is_none(), "all are taken");
        drop(of_one);
        assert!(take("2001:db8::ffff:1").is_none(), "half are taken by its network");
        assert!(take("2001:db8:0:1::1").is_some());
        drop(of_another);
        assert!(places.lock().by_peer.is_empty());
    }

    #[test]
    fn a_single_place_is_for_anybody() {
        assert!(Places::new(1).take("192.0.2.1".parse().unwrap()).is_some());
    }
}
