//! How much was taken of a key's quotas, as its row of `agent_key_spending` tells.
//!
//! Servers take what they need in parts before they use it, and give back what they did not ([`super::spending`]), so that
//! all of them together, and one that was killed, never use more than there is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::quota::{BEHIND_MS, Quota, Span};
use crate::error::{Code, Error, Result};

/// The periods of a budget that are remembered, the newest: a clock that was set forward and back finds the one it left.
const PERIODS_KEPT: usize = 4;

/// What a taking came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// How much may be used, in the slot it was asked for.
    pub granted: i64,
    /// How much is left beside it.
    pub left: i64,
    /// When the oldest of what counts does so no longer: milliseconds by the quota's clock.
    pub resets_at: i64,
}

/// How much was taken of a key's quotas, by name and slot: the content of its row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Taken(BTreeMap<String, Vec<(i64, i64)>>);

impl Taken {
    /// From the column of the store.
    ///
    /// # Errors
    /// [`Code::StorageUnavailable`] for what this version cannot read.
    pub fn of_column(text: &str) -> Result<Taken> {
        serde_json::from_str(text).map_err(|error| {
            let detail = "what the agent key has used cannot be read by this version of Keyward; run the newer one";
            Error::new(Code::StorageUnavailable, detail).with_cause(error)
        })
    }

    /// For the column of the store.
    pub fn to_column(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Sets right what was taken in a slot: less than was used where `by` is positive, more where it is negative.
    pub fn set_right(&mut self, quota: &Quota, slot: i64, by: i64) {
        let slots = self.0.entry(quota.name().to_owned()).or_default();
        match slots.iter_mut().find(|(start, _)| *start == slot) {
            Some((_, taken)) => *taken = taken.saturating_add(by).max(0),
            None if by > 0 => slots.push((slot, by)),
            None => {}
        }
    }

    /// Whether anything was taken in a slot.
    pub fn knows(&self, quota: &Quota, slot: i64) -> bool {
        self.in_slot(quota, slot).is_some()
    }

    /// How much was taken in a slot; `None` where nothing was.
    pub fn in_slot(&self, quota: &Quota, slot: i64) -> Option<i64> {
        self.0.get(quota.name())?.iter().find(|(start, _)| *start == slot).map(|(_, taken)| *taken)
    }

    /// Takes what is wanted, and where there is more, a part of it, so that not every call has to ask.
    pub fn take(&mut self, quota: &Quota, slot: i64, wanted: i64) -> Grant {
        let slots = self.0.entry(quota.name().to_owned()).or_default();
        slots.retain(|(_, taken)| *taken > 0);
        slots.sort_unstable();
        let counts = match quota.span {
            Span::Minute => {
                // What was taken by somebody whose clock is ahead counts as well; what is far ahead is from before a
                // clock was set back.
                slots.retain(|(start, _)| (slot - BEHIND_MS..=slot + BEHIND_MS).contains(start));
                slots.iter().map(|(_, taken)| taken).fold(0, |sum: i64, taken| sum.saturating_add(*taken))
            }
            _ => {
                let old = slots.len().saturating_sub(PERIODS_KEPT);
                slots.drain(..old);
                slots.iter().filter(|(start, _)| *start == slot).map(|(_, taken)| *taken).sum()
            }
        };
        let left = quota.most.saturating_sub(counts).max(0);
        let share = match quota.span {
            Span::Minute => 4,
            _ => 64,
        };
        let granted = if wanted > 0 { wanted.max(left / share).min(left) } else { 0 };
        if granted > 0 {
            match slots.iter_mut().find(|(start, _)| *start == slot) {
                Some((_, taken)) => *taken += granted,
                None => slots.push((slot, granted)),
            }
        }
        let oldest = match quota.span {
            Span::Minute => slots.iter().map(|(start, _)| *start).min().unwrap_or(slot),
            _ => slot,
        };
        Grant { granted, left: left - granted, resets_at: quota.end(oldest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::quota::{Measure, Times};

    fn at(wall: &str) -> Times {
        let wall = crate::domain::clock::parse_time(wall).expect("a time");
        Times { steady: wall, wall }
    }

    fn quota(span: Span, most: i64) -> Quota {
        Quota { measure: Measure::Tokens, span, most }
    }

    #[test]
    fn whoever_takes_and_gives_back_no_minute_has_more_than_it_may() {
        let quota = quota(Span::Minute, 100);
        let mut taken = Taken::default();
        let mut used: Vec<(i64, i64)> = Vec::new();
        for now in (0..600_000).step_by(333) {
            let slot = quota.slot(Times { steady: now, wall: 0 });
            let grant = taken.take(&quota, slot, 3);
            // A part is used, and the rest given back in another slot.
            let use_of = grant.granted.min(2);
            taken.set_right(&quota, slot, use_of - grant.granted);
            used.push((now, use_of));
            if now % 2 == 0 {
                taken = Taken::of_column(&taken.to_column()).expect("what was written");
            }
        }
        for (place, (start, _)) in used.iter().enumerate() {
            let within = used[place..].iter().take_while(|(now, _)| *now < start + 60_000).map(|(_, by)| by);
            assert!(within.sum::<i64>() <= 100, "in the minute from {start}");
        }
        assert!(used.iter().map(|(_, by)| by).sum::<i64>() > 900);
    }

    #[test]
    fn a_budget_is_taken_in_parts_and_to_its_end() {
        let quota = quota(Span::Month, 6400);
        let slot = quota.slot(at("2026-02-03"));
        let mut taken = Taken::default();
        let first = taken.take(&quota, slot, 1);
        assert_eq!((first.granted, first.left), (100, 6300));
        assert_eq!(first.resets_at, at("2026-03-01").wall);
        let mut sum = 100;
        for _ in 0..10_000 {
            sum += taken.take(&quota, slot, 1).granted;
        }
        assert_eq!(sum, 6400);
        assert_eq!(taken.take(&quota, slot, 1), Grant { granted: 0, left: 0, resets_at: first.resets_at });
        // More was used than taken: that is owed, and of a higher budget the difference is left.
        taken.set_right(&quota, slot, 50);
        assert_eq!(taken.take(&quota, slot, 0).left, 0);
        assert_eq!(taken.take(&Quota { most: 6460, ..quota }, slot, 20).granted, 10);
        // A clock that is set forward a year and back finds the month it left.
        let later = quota.slot(at("2027-02-03"));
        assert_eq!(taken.take(&quota, later, 1).granted, 100);
        assert_eq!(taken.take(&quota, slot, 1).granted, 0);
    }
}
