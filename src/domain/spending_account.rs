//! One quota of an agent key as this server has a part of it: what was taken, what is used, what calls under way hold.

use super::{
    quota::{Measure, Quota, Span, Times},
    spending_bank::Part,
    warnings::PERCENTS,
};

/// About how many bytes of a body make a token, where nothing else is known of a key's calls.
const BYTES_PER_TOKEN: i64 = 4;

/// What a call is thought to use before it is made.
#[derive(Debug, Clone, Copy)]
pub struct Estimate {
    /// The bytes of its body.
    pub bytes: usize,
    /// What a million tokens cost that are sent, in millionths of the currency; 0 where that is not known.
    pub input_micros: i64,
    /// Whether it can use no tokens: then it counts as a request, and as nothing else.
    pub is_free: bool,
}

impl Estimate {
    /// About how many tokens are sent; at least one.
    pub(super) fn tokens(self) -> i64 {
        (i64::try_from(self.bytes).unwrap_or(i64::MAX) / BYTES_PER_TOKEN).max(1)
    }
}

/// How much of a quota is left, for the answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The quota.
    pub quota: Quota,
    /// How much of it is left, as far as this server knows.
    pub remaining: i64,
    /// Until the oldest of what counts does so no longer, in seconds.
    pub reset_seconds: i64,
    /// How long it is counted, in seconds.
    pub window_seconds: i64,
}

/// What a call holds of an account.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    /// The account's place.
    pub(super) place: usize,
    /// The slot it was taken in.
    pub(super) slot: i64,
    /// How much.
    pub(super) amount: i64,
}

/// One quota of a key, as this server has a part of it.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) quota: Quota,
    /// The part of its span that what follows is of.
    pub(super) slot: i64,
    /// The start of the next one: kept, since the calendar takes longer than all else of a call.
    pub(super) next: i64,
    pub(super) granted: i64,
    pub(super) spent: i64,
    /// By calls under way that began in this slot. What those from before it hold stays taken in theirs.
    pub(super) reserved: i64,
    /// What the row is to be told of earlier slots, by how much more was used than taken.
    pub(super) owed: Vec<(i64, i64)>,
    /// What the last answer told.
    pub(super) left: i64,
    pub(super) resets_at: i64,
    pub(super) futile_until: i64,
    /// How much of it was told of already, in hundredths.
    pub(super) told: i64,
}

/// A budget of which so much was used that somebody is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossed {
    /// The budget.
    pub quota: Quota,
    /// The start of its period.
    pub slot: i64,
    /// How much of it is used, in hundredths: one of [`PERCENTS`].
    pub percent: i64,
}

impl Account {
    pub(super) fn new(quota: Quota) -> Account {
        Account {
            quota,
            slot: i64::MIN,
            next: i64::MIN,
            granted: 0,
            spent: 0,
            reserved: 0,
            owed: Vec::new(),
            left: 0,
            resets_at: 0,
            futile_until: 0,
            told: 0,
        }
    }

    /// Goes on to the slot that has begun, and to the bound as it is now.
    pub(super) fn follow(&mut self, quota: &Quota, times: Times) {
        if !self.is_in(quota, times) {
            self.give_back();
            let slot = quota.slot(times);
            (self.slot, self.next, self.quota, self.futile_until) = (slot, quota.next(slot), *quota, 0);
            (self.granted, self.spent, self.reserved, self.told) = (0, 0, 0, 0);
            if quota.span != Span::Minute {
                // What was left of the period before says nothing of this one.
                self.left = quota.most;
            }
        } else if self.quota.most != quota.most {
            self.give_back();
            (self.quota, self.futile_until, self.told) = (*quota, 0, 0);
        }
    }

    /// Whether its slot is the one that has begun.
    pub(super) fn is_in(&self, quota: &Quota, times: Times) -> bool {
        (self.slot..self.next).contains(&quota.time(times))
    }

    /// Gives back what was taken and is neither used nor held by a call, or tells what is so beyond it.
    pub(super) fn give_back(&mut self) {
        let unused = self.available();
        if unused != 0 {
            self.owed.push((self.slot, -unused));
            self.granted -= unused;
        }
    }

    /// What is to be told of it now, once for each of [`PERCENTS`]. As used counts what other servers have taken as well, which
    /// is a 64th of what was left at most.
    pub(super) fn crossed(&mut self) -> Option<Crossed> {
        if self.quota.span == Span::Minute {
            return None;
        }
        let used = i128::from(self.quota.most) - i128::from(self.left) - i128::from(self.available());
        let percent = PERCENTS
            .into_iter()
            .rev()
            .find(|percent| used * 100 >= i128::from(self.quota.most) * i128::from(*percent))?;
        let is_news = percent > self.told;
        self.told = self.told.max(percent);
        is_news.then_some(Crossed { quota: self.quota, slot: self.slot, percent })
    }

    /// How much is left, for headers.
    pub(super) fn left(&self, times: Times) -> Left {
        Left {
            quota: self.quota,
            remaining: self.left.saturating_add(self.available()).max(0),
            reset_seconds: self.quota.seconds_until(self.resets_at, times),
            window_seconds: self.quota.seconds(self.slot, self.next),
        }
    }

    pub(super) fn available(&self) -> i64 {
        self.granted - self.spent - self.reserved
    }

    pub(super) fn amount(&self, typical: (i64, i64), estimate: Estimate) -> i64 {
        let guess = estimate.tokens();
        let amount = match self.quota.measure {
            Measure::Requests => 1,
            Measure::Tokens => typical.0.max(guess),
            Measure::Cost => typical.1.max(guess.saturating_mul(estimate.input_micros) / 1000),
        };
        amount.max(1)
    }

    /// Gives up what a call holds: to be used by others, or, where its slot is over, to be given back.
    pub(super) fn let_go(&mut self, hold: Hold) {
        if hold.slot != self.slot {
            self.owed.push((hold.slot, -hold.amount));
            return;
        }
        match self.quota.measure {
            Measure::Requests => self.spent -= hold.amount,
            _ => self.reserved -= hold.amount,
        }
    }

    /// What the database is asked, with all that is owed to it.
    pub(super) fn part(&mut self, wanted: i64) -> Part {
        if self.available() < 0 {
            self.give_back();
        }
        Part { quota: self.quota, slot: self.slot, wanted, owed: std::mem::take(&mut self.owed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::DAY_MS;

    fn account() -> (Account, Quota) {
        let quota = Quota { measure: Measure::Tokens, span: Span::Day, most: 100 };
        (Account::new(quota), quota)
    }

    fn at(day: i64) -> Times {
        Times { steady: day * DAY_MS, wall: day * DAY_MS }
    }

    #[test]
    fn a_day_that_begins_is_not_told_of_for_what_the_last_one_used() {
        let (mut account, quota) = account();
        account.follow(&quota, at(1));
        (account.granted, account.spent, account.left) = (100, 79, 0);
        assert_eq!(account.crossed(), None);
        account.spent = 85;
        assert_eq!(account.crossed().map(|crossed| (crossed.slot, crossed.percent)), Some((DAY_MS, 80)));
        assert_eq!(account.crossed(), None, "once");
        account.spent = 120;
        assert_eq!(account.crossed().map(|crossed| crossed.percent), Some(100));
        account.follow(&quota, at(2));
        account.spent += 10;
        assert_eq!(account.crossed(), None);
        assert_eq!(account.owed, [(DAY_MS, 20)], "what the day before used beyond what was taken");
    }

    #[test]
    fn what_a_call_holds_stays_taken_where_it_began_until_the_call_ends() {
        let (mut account, quota) = account();
        account.follow(&quota, at(1));
        (account.granted, account.spent, account.reserved) = (50, 10, 20);
        account.follow(&quota, at(2));
        assert_eq!(account.owed, [(DAY_MS, -20)], "neither used nor held");
        assert_eq!((account.available(), account.reserved), (0, 0));
        account.let_go(Hold { place: 0, slot: DAY_MS, amount: 20 });
        assert_eq!(account.owed, [(DAY_MS, -20), (DAY_MS, -20)]);
        // In its own slot it is there for others at once.
        (account.granted, account.reserved) = (30, 20);
        account.let_go(Hold { place: 0, slot: 2 * DAY_MS, amount: 20 });
        assert_eq!(account.available(), 30);
    }
}
