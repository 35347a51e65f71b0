//! Slows down whoever guesses passwords, by account and by address. Delays only: nobody is ever locked out, and a try
//! that comes too early is not counted, so that hammering does not make the delay longer.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Failed tries on one account before the next one has to wait.
const FREE_BY_ACCOUNT: u32 = 5;
/// Failed tries from one address before the next one has to wait; several people may share it.
const FREE_BY_ADDRESS: u32 = 10;
/// Where no try failed so far, one on any account may come past the account's delay: its owner is not kept waiting at a
/// new place by somebody who guesses elsewhere. For each account one such try in so many milliseconds,
const FRESH_EVERY_MS: i64 = 15_000;
/// and this many at once. Together with the longest delay they bound what somebody with many addresses can guess.
const FRESH_AT_ONCE: i64 = 20;
/// The longest delay, in milliseconds.
const MAX_DELAY_MS: i64 = 15_000;
/// After so long without a try, failures are forgotten.
const MEMORY_MS: i64 = 15 * 60_000;
/// The most accounts, addresses and pairs of them that are remembered. The oldest goes first; a full table takes longer
/// to turn over, at the pace passwords can be checked, than the longest delay.
const MAX_ENTRIES: usize = 10_000;

/// Who tries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Try {
    account: String,
    address: IpAddr,
}

impl Try {
    /// A try on `account` (the e-mail in its normal form) from `address`.
    pub fn new(account: &str, address: IpAddr) -> Try {
        Try { account: account.to_owned(), address: network(address) }
    }
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: i64,
    /// When the tries from fresh addresses that were let past the delay will have been worked off.
    fresh_until: i64,
}

impl Failures {
    /// Takes one of the tries that fresh addresses have.
    fn take_fresh(&mut self, now: i64) -> bool {
        let until = self.fresh_until.max(now) + FRESH_EVERY_MS;
        let is_free = until - now <= FRESH_AT_ONCE * FRESH_EVERY_MS;
        if is_free {
            self.fresh_until = until;
        }
        is_free
    }
}

#[derive(Debug, Default)]
struct Tables {
    accounts: HashMap<String, Failures>,
    addresses: HashMap<IpAddr, Failures>,
    /// Where an account was signed in to before: whoever guesses elsewhere does not delay its owner there.
    known: HashMap<Try, i64>,
}

/// Remembers failed tries, in memory.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Tables>);

impl Throttle {
    /// Lets a try through and counts it as failed until [`Throttle::succeeded`] or [`Throttle::forgive`] says
    /// otherwise, so that tries at once count as well.
    ///
    /// # Errors
    /// The seconds to wait.
    pub fn begin(&self, who: &Try, now: i64) -> Result<(), u64> {
        let mut tables = self.lock();
        let by_account = match tables.known.get(who) {
            Some(_) => 0,
            None => wait(tables.accounts.get(&who.account), FREE_BY_ACCOUNT, now),
        };
        let by_address = wait(tables.addresses.get(&who.address), FREE_BY_ADDRESS, now);
        let is_fresh = tables.addresses.get(&who.address).is_none_or(|failures| now - failures.last >= MEMORY_MS);
        match by_account.max(by_address) {
            0 => {}
            _ if is_fresh && tables.accounts.get_mut(&who.account).is_some_and(|failures| failures.take_fresh(now)) => {
            }
            ms => return Err(u64::try_from(ms).unwrap_or(0).div_ceil(1000)),
        }
        fail(&mut tables.accounts, who.account.clone(), now);
        fail(&mut tables.addresses, who.address, now);
        Ok(())
    }

    /// The password was right: both start afresh, and the address is known.
    pub fn succeeded(&self, who: Try, now: i64) {
        let mut tables = self.lock();
        tables.accounts.remove(&who.account);
        tables.addresses.remove(&who.address);
        make_room(&mut tables.known, |at| *at);
        tables.known.insert(who, now);
    }

    /// It was right: both start afresh, and the address is as unknown as before.
    pub fn clear(&self, who: &Try) {
        let mut tables = self.lock();
        tables.accounts.remove(&who.account);
        tables.addresses.remove(&who.address);
    }

    /// The password was not checked after all.
    pub fn forgive(&self, who: &Try) {
        let mut tables = self.lock();
        if let Some(failures) = tables.accounts.get_mut(&who.account) {
            failures.count = failures.count.saturating_sub(1);
        }
        if let Some(failures) = tables.addresses.get_mut(&who.address) {
            failures.count = failures.count.saturating_sub(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address, or the network of 2^64 of them that whoever has one of version 6 has as well.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// How many milliseconds are left to wait.
fn wait(failures: Option<&Failures>, free: u32, now: i64) -> i64 {
    match failures {
        Some(failures) if failures.count >= free && now - failures.last < MEMORY_MS => {
            let doublings = (failures.count - free).min(10);
            let delay = (1000_i64 << doublings).min(MAX_DELAY_MS);
            (failures.last + delay - now).clamp(0, MAX_DELAY_MS)
        }
        _ => 0,
    }
}

fn fail<K: Hash + Eq + Clone>(table: &mut HashMap<K, Failures>, key: K, now: i64) {
    if !table.contains_key(&key) {
        make_room(table, |failures| failures.last);
    }
    let failures = table.entry(key).or_insert(Failures { count: 0, last: now, fresh_until: now });
    if now - failures.last >= MEMORY_MS {
        failures.count = 0;
    }
    (failures.count, failures.last) = (failures.count.saturating_add(1), now);
}

fn make_room<K: Hash + Eq + Clone, V>(table: &mut HashMap<K, V>, at: impl Fn(&V) -> i64) {
    if table.len() < MAX_ENTRIES {
        return;
    }
    let oldest = table.iter().min_by_key(|(_, value)| at(value)).map(|(key, _)| key.clone());
    if let Some(oldest) = oldest {
        table.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> Try {
        Try::new("ada@example.com", IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn wrong_passwords_wait_longer_and_longer_and_never_longer_than_the_maximum() {
        let throttle = Throttle::default();
        let mut now = 1_000_000;
        let mut waits = Vec::new();
        for _ in 0..100 {
            while let Err(seconds) = throttle.begin(&from(1), now) {
                waits.push(seconds);
                now += i64::try_from(seconds).unwrap_or(0) * 1000;
            }
        }
        assert_eq!(waits[..6], [1, 2, 4, 8, 15, 15]);
        assert!(waits.iter().all(|seconds| *seconds <= 15));
        throttle.succeeded(from(1), now);
        assert_eq!(throttle.begin(&from(1), now), Ok(()));
    }

    #[test]
    fn tries_at_once_count_and_early_ones_do_not() {
        let throttle = Throttle::default();
        let passed = (0..100).filter(|_| throttle.begin(&from(1), 0).is_ok()).count();
        assert_eq!(passed, 5);
        assert_eq!(throttle.begin(&from(1), 1000), Ok(()));
    }

    #[test]
    fn guesses_elsewhere_delay_only_where_the_account_is_not_known() {
        let throttle = Throttle::default();
        throttle.succeeded(from(1), 0);
        for _ in 0..9 {
            let _ = throttle.begin(&from(9), 0);
        }
        assert!(throttle.begin(&from(9), 0).is_err());
        assert_eq!(throttle.begin(&from(1), 0), Ok(()));
    }

    #[test]
    fn somebody_who_guesses_keeps_nobody_waiting_who_comes_from_elsewhere() {
        let throttle = Throttle::default();
        for second in 0..3600 {
            let _ = throttle.begin(&from(1), second * 1000);
        }
        let now = 3_600_000;
        assert!(throttle.begin(&from(1), now).is_err());
        assert_eq!(throttle.begin(&from(2), now), Ok(()));
        assert!(throttle.begin(&from(2), now).is_err(), "one try, not more");
        // Who has many addresses has no more tries for it than these.
        let passed = (3..250).filter(|address| throttle.begin(&from(*address), now).is_ok()).count();
        assert_eq!(passed, 19);
        let passed = (0..250).filter(|at| {
            let address = [198, 51, 100, *at].into();
            throttle.begin(&Try::new("ada@example.com", address), now + 60_000).is_ok()
        });
        assert!((4..=5).contains(&passed.count()));
    }

    #[test]
    fn a_network_of_version_six_is_one_address() {
        let ip = |text: &str| Try::new("a", text.parse().expect("an address"));
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:1"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        for number in 0..20_000_u32 {
            let who = Try::new(&number.to_string(), IpAddr::from(number.to_be_bytes()));
            assert_eq!(throttle.begin(&who, 0), Ok(()));
        }
        let tables = throttle.lock();
        assert_eq!((tables.accounts.len(), tables.addresses.len()), (MAX_ENTRIES, MAX_ENTRIES));
    }
}
