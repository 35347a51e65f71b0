//! How many connections each address has open at a core, so that one alone cannot take them all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::throttle::network;

/// The addresses that have connections open.
#[derive(Debug)]
pub struct Peers {
    open: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
}

impl Peers {
    /// Nobody yet; each address may have `most` connections.
    pub fn new(most: usize) -> Arc<Peers> {
        Arc::new(Peers { open: Mutex::default(), most })
    }

    /// A place for one more connection of an address; `None` where it has as many as it may.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = network(address);
        let mut open = self.lock();
        let count = open.entry(network).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Place { peers: Arc::clone(self), network })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place, free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    peers: Arc<Peers>,
    network: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.peers.lock();
        if let Some(count) = open.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_so_many_places_and_leaves_those_of_others() {
        let peers = Peers::new(2);
        let enter = |address: &str| peers.enter(address.parse().expect("an address"));
        let first = enter("2001:db8::1").expect("a place");
        let second = enter("2001:db8::2").expect("a place");
        assert!(enter("2001:db8::3").is_none());
        assert!(enter("192.0.2.1").is_some());
        drop(first);
        assert!(enter("2001:db8::3").is_some());
        drop(second);
        assert!(peers.lock().is_empty());
    }
}
