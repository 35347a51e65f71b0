//! What the calls of limited agent keys use: reserved before a call, settled after it, and taken from the database in parts
//! before that.
//!
//! A server takes a part of what is left of a [`Quota`], uses it up in memory, and asks again: a call waits for the database
//! only where the part that was taken is used up. A server that is killed leaves what it had taken and not
//! used as used: less than allowed is spent then, and never more.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use tokio::task::JoinSet;

use super::{
    Core,
    key_limits::KeyLimits,
    quota::{Measure, Quota, Times},
    spending_account::{Account, Crossed, Estimate, Hold, Left},
    spending_bank::{Ask, Part},
};
use crate::error::{Code, Error, Result};

/// How long nothing is asked for again where nothing was left, in milliseconds.
const FUTILE_MS: i64 = 200;
/// After how long without a call what was taken and not used is given back, in milliseconds.
const IDLE_MS: i64 = 60_000;
/// How often a call asks for what others take away before it.
const TRIES: usize = 32;

/// What the calls of one key use.
#[derive(Debug, Default)]
pub struct Spending {
    open: AtomicUsize,
    state: Mutex<State>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    accounts: Vec<Account>,
    /// What calls came to lately, in tokens and in billionths of the currency; 0 where there was none.
    typical: (i64, i64),
    last_use: i64,
}

/// A call that was let through. What it reserved is given back when it is dropped, and settled before that where it was made.
#[derive(Debug)]
pub struct Admission {
    of: Arc<Spending>,
    is_one_of_those_at_once: bool,
    holds: Vec<Hold>,
    /// What its body comes to, where nobody tells its usage.
    guess: i64,
}

impl Admission {
    /// About how many tokens the call sent, by its body.
    pub fn guess(&self) -> i64 {
        self.guess
    }

    /// Counts what the call came to, at `times`. Gives the budgets of which somebody is to be told.
    pub fn settle(&mut self, tokens: i64, cost_nanos: i64, times: Times) -> Vec<Crossed> {
        let mut crossed = Vec::new();
        let mut state = self.of.state();
        let blend = |typical: i64, new: i64| match typical {
            0 => new,
            // What came to nothing tells nothing of those that do.
            typical if new == 0 => typical,
            typical => typical.saturating_sub(typical / 8).saturating_add(new / 8),
        };
        state.typical = (blend(state.typical.0, tokens), blend(state.typical.1, cost_nanos));
        for hold in std::mem::take(&mut self.holds) {
            let account = &mut state.accounts[hold.place];
            let quota = account.quota;
            // A call made counts when it began, what it used when it ends.
            let used = match quota.measure {
                Measure::Requests => continue,
                Measure::Tokens => tokens,
                Measure::Cost => cost_nanos,
            };
            account.let_go(hold);
            account.follow(&quota, times);
            account.spent = account.spent.saturating_add(used);
            crossed.extend(account.crossed());
        }
        crossed
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.is_one_of_those_at_once {
            self.of.open.fetch_sub(1, Ordering::AcqRel);
        }
        if !self.holds.is_empty() {
            let mut state = self.of.state();
            for hold in self.holds.drain(..) {
                state.accounts[hold.place].let_go(hold);
            }
        }
    }
}

/// What came of a look at the accounts.
enum Look {
    Reserved(Vec<Hold>, Vec<Left>),
    /// The database is to be asked first.
    Lacking,
    Refused(Error),
}

impl Spending {
    /// Lets a call through, or says for how long not. Of calls at once each server has its part.
    ///
    /// # Errors
    /// [`Code::RateLimitExceeded`] or [`Code::InsufficientQuota`], with the seconds to wait; [`Code::StorageUnavailable`]
    /// where it cannot be told whether there is anything left.
    pub async fn admit(
        self: &Arc<Self>,
        core: &Arc<Core>,
        id: &Arc<str>,
        limits: &KeyLimits,
        quotas: &[Quota],
        estimate: Estimate,
    ) -> Result<(Admission, Vec<Left>)> {
        let requests: Vec<Quota>;
        let quotas = match estimate.is_free {
            true => {
                requests = quotas.iter().filter(|quota| quota.measure == Measure::Requests).copied().collect();
                &requests
            }
            false => quotas,
        };
        let servers = core.lease.servers.load(Ordering::Relaxed).max(1);
        let mut admission = self.enter(limits.calls_in_flight.map(|most| (most / servers).max(1)))?;
        for _ in 0..TRIES {
            match self.look(quotas, estimate, core.clock.times()) {
                Look::Reserved(holds, left) => {
                    (admission.holds, admission.guess) = (holds, estimate.tokens());
                    return Ok((admission, left));
                }
                Look::Refused(error) => return Err(error),
                Look::Lacking => {}
            }
            let (spending, owner, id, quotas) = (Arc::clone(self), Arc::clone(core), Arc::clone(id), quotas.to_vec());
            // To its end, whoever leaves meanwhile: what was taken is taken.
            let asked = core.control.spawn(async move { spending.ask(&owner, id, &quotas, estimate).await });
            asked.await.unwrap_or_else(|error| {
                let detail = "what the agent key has used cannot be read at the moment; try again";
                Err(Error::new(Code::StorageUnavailable, detail).with_cause(error))
            })?;
        }
        // Others had what was taken each time: too many at once, and no outage.
        let detail = "too many calls of the agent key ask for what is left of its limit at once; try again in 1 s";
        Err(Error::new(Code::RateLimitExceeded, detail)
            .with_extension("retry_after_seconds", serde_json::Value::from(1)))
    }

    /// Takes a place among the calls at once.
    fn enter(self: &Arc<Self>, most: Option<u32>) -> Result<Admission> {
        if let Some(most) = most {
            let before = self.open.fetch_add(1, Ordering::AcqRel);
            if before >= most as usize {
                self.open.fetch_sub(1, Ordering::AcqRel);
                let detail = format!("the agent key has {before} calls at once, as many as it may; try again in 1 s");
                return Err(Error::new(Code::RateLimitExceeded, detail)
                    .with_extension("retry_after_seconds", serde_json::Value::from(1)));
            }
        }
        Ok(Admission { of: Arc::clone(self), is_one_of_those_at_once: most.is_some(), holds: Vec::new(), guess: 0 })
    }

    fn look(&self, quotas: &[Quota], estimate: Estimate, times: Times) -> Look {
        let mut state = self.state();
        state.last_use = times.steady;
        let mut is_lacking = false;
        for quota in quotas {
            let account = state.account(quota);
            account.follow(quota, times);
            if account.available() >= 1 {
                continue;
            }
            if times.steady < account.futile_until {
                let waits = account.reserved > 0 && account.left == 0;
                return Look::Refused(quota.exceeded(account.resets_at, waits, times));
            }
            is_lacking = true;
        }
        if is_lacking {
            return Look::Lacking;
        }
        let typical = state.typical;
        let (mut reserved, mut told) = (Vec::with_capacity(quotas.len()), Vec::with_capacity(quotas.len()));
        for quota in quotas {
            let place = state.place(quota);
            let account = &mut state.accounts[place];
            // What is left is enough to begin with: the calls in flight may go beyond a limit, and no others.
            let amount = account.amount(typical, estimate).min(account.available());
            match quota.measure {
                Measure::Requests => account.spent += amount,
                _ => account.reserved += amount,
            }
            reserved.push(Hold { place, slot: account.slot, amount });
            told.push(account.left(times));
        }
        Look::Reserved(reserved, told)
    }

    /// How much is left of each, as far as this server knows.
    pub fn left(&self, quotas: &[Quota], times: Times) -> Vec<Left> {
        let mut state = self.state();
        let told = |quota: &Quota| {
            let account = state.account(quota);
            account.follow(quota, times);
            account.left(times)
        };
        quotas.iter().map(told).collect()
    }

    /// Asks the database for what is lacking; one call does for all that wait.
    async fn ask(&self, core: &Core, id: Arc<str>, quotas: &[Quota], estimate: Estimate) -> Result<()> {
        let _turn = self.asking.lock().await;
        let times = core.clock.times();
        let parts: Vec<Part> = {
            let mut state = self.state();
            let typical = state.typical;
            let parts = quotas.iter().filter_map(|quota| {
                let account = state.account(quota);
                account.follow(quota, times);
                let is_lacking = account.available() < 1 && times.steady >= account.futile_until;
                is_lacking.then(|| {
                    let wanted = account.amount(typical, estimate);
                    account.part(wanted)
                })
            });
            parts.collect()
        };
        if parts.is_empty() {
            return Ok(());
        }
        self.take(core, id, parts, times).await
    }

    /// Writes what is owed, and gives back what is taken and no longer needed: all of it where the key is idle.
    async fn set_right(&self, core: &Core, id: Arc<str>, is_last: bool) -> Result<()> {
        let _turn = self.asking.lock().await;
        let times = core.clock.times();
        let parts: Vec<Part> = {
            let mut state = self.state();
            let is_idle = is_last || state.last_use < times.steady - IDLE_MS;
            let parts = state.accounts.iter_mut().filter_map(|account| {
                let quota = account.quota;
                // What another server could use meanwhile goes back as soon as its time is over.
                if core.store.db().is_shared() {
                    account.follow(&quota, times);
                }
                if account.available() < 0 || is_idle {
                    account.give_back();
                }
                (!account.owed.is_empty()).then(|| account.part(0))
            });
            parts.collect()
        };
        if parts.is_empty() {
            return Ok(());
        }
        self.take(core, id, parts, times).await
    }

    /// Takes each part from where it is counted. What one of these places gave is kept where the other one fails.
    async fn take(&self, core: &Core, id: Arc<str>, parts: Vec<Part>, times: Times) -> Result<()> {
        let (minutes, rows) = core.bank.apart(parts);
        let (of_minutes, of_rows) = tokio::join!(
            self.take_together(core, Arc::clone(&id), minutes, times),
            self.take_together(core, Arc::clone(&id), rows, times)
        );
        of_minutes.and(of_rows)
    }

    async fn take_together(&self, core: &Core, id: Arc<str>, parts: Vec<Part>, times: Times) -> Result<()> {
        if parts.is_empty() {
            return Ok(());
        }
        let answer = core.bank.write(core, Ask { id, parts: parts.clone() }).await;
        let mut state = self.state();
        match answer {
            Ok(grants) => {
                for (part, grant) in parts.iter().zip(grants) {
                    let account = state.account(&part.quota);
                    if account.slot != part.slot || account.quota.most != part.quota.most {
                        // Its time has gone by on the way: all of it goes back.
                        if grant.granted > 0 {
                            account.owed.push((part.slot, -grant.granted));
                        }
                        continue;
                    }
                    account.granted += grant.granted;
                    (account.left, account.resets_at) = (grant.left, grant.resets_at);
                    if part.wanted > 0 && grant.granted == 0 {
                        account.futile_until = times.steady + FUTILE_MS;
                    }
                }
                Ok(())
            }
            Err(error) => {
                // It may have been written all the same: what was used beyond what was taken is told again, what was given
                // back is not.
                for part in parts {
                    let account = state.account(&part.quota);
                    let is_still_owed = |(slot, by): &(i64, i64)| *by > 0 && part.quota.may_count(*slot, times);
                    account.owed.extend(part.owed.into_iter().filter(is_still_owed));
                }
                Err(error)
            }
        }
    }

    /// Whether the row is to be told something.
    fn has_news(&self, times: Times, is_shared: bool, is_last: bool) -> bool {
        let state = self.state();
        let gives_back = is_last || state.last_use < times.steady - IDLE_MS;
        state.accounts.iter().any(|account| {
            let is_over = is_shared && !account.is_in(&account.quota, times);
            !account.owed.is_empty() || account.available() < 0 || (account.available() != 0 && (gives_back || is_over))
        })
    }

    /// Whether anything would be lost with it.
    fn is_kept(&self) -> bool {
        let state = self.state();
        self.open.load(Ordering::Acquire) > 0
            || state.accounts.iter().any(|account| account.granted != account.spent || !account.owed.is_empty())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn place(&mut self, quota: &Quota) -> usize {
        let is = |account: &Account| (account.quota.span, account.quota.measure) == (quota.span, quota.measure);
        match self.accounts.iter().position(is) {
            Some(place) => place,
            None => {
                self.accounts.push(Account::new(*quota));
                self.accounts.len() - 1
            }
        }
    }

    fn account(&mut self, quota: &Quota) -> &mut Account {
        let place = self.place(quota);
        &mut self.accounts[place]
    }
}

/// The spending of all keys that have a limit, by their id: it outlives what is cached of a key.
#[derive(Debug, Default)]
pub struct SpendingBook {
    keys: Mutex<HashMap<Arc<str>, Arc<Spending>>>,
    /// Calls that were refused for a limit or a budget since the start.
    pub refused: AtomicI64,
}

impl SpendingBook {
    /// The spending of a key.
    pub fn of(&self, id: &Arc<str>) -> Arc<Spending> {
        Arc::clone(self.lock().entry(Arc::clone(id)).or_default())
    }

    /// Writes down what was used beyond what was taken, gives back what is not needed, and forgets who has nothing to tell;
    /// `is_last` before the end.
    ///
    /// # Errors
    /// A storage failure; what was to be written waits then.
    pub async fn flush(&self, core: &Arc<Core>, is_last: bool) -> Result<()> {
        let mut writing = JoinSet::new();
        // Once for all of them: there may be many, and this is done twice a second.
        let (times, is_shared) = (core.clock.times(), core.store.db().is_shared());
        let has_news = |spending: &Spending| spending.has_news(times, is_shared, is_last);
        for (id, spending) in self.lock().iter().filter(|(_, spending)| has_news(spending)) {
            let (owner, id, spending) = (Arc::clone(core), Arc::clone(id), Arc::clone(spending));
            writing.spawn_on(async move { spending.set_right(&owner, id, is_last).await }, &core.control);
        }
        let mut written = Ok(());
        while let Some(done) = writing.join_next().await {
            written = written.and(done.unwrap_or_else(|error| {
                Err(Error::new(Code::Internal, "what agent keys used could not be written down").with_cause(error))
            }));
        }
        self.lock().retain(|_, spending| Arc::strong_count(spending) > 1 || spending.is_kept());
        written
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Spending>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
