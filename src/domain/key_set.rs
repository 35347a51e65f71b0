//! The general keys of one provider or model, and which of them a call goes out with.
//!
//! An agent key keeps to one general key, since providers keep prompt caches for each; over all agent keys the shares
//! follow the weights. That is weighted rendezvous hashing (Schindelhauer and Schomaker, 'Weighted distributed hash
//! tables', SPAA 2005): each pair is scored by itself, so that a key that comes or goes moves no other pair.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use super::catalog::OpenKey;

/// The most general keys of one provider or model.
pub const MAX_KEYS: usize = 8;

/// Some opened general keys, each with its weight.
pub struct KeySet {
    keys: Vec<(Arc<OpenKey>, f64)>,
}

/// The keys of a set in the order in which one agent key tries them.
pub struct Ranking<'a> {
    set: &'a KeySet,
    order: [u8; MAX_KEYS],
    next: usize,
}

impl KeySet {
    /// A set of these keys, of which there is at least one; what is beyond [`MAX_KEYS`] is left out.
    pub fn new(keys: impl IntoIterator<Item = (Arc<OpenKey>, i64)>) -> KeySet {
        let keys = keys.into_iter().take(MAX_KEYS).map(|(key, weight)| (key, weight.max(1) as f64));
        KeySet { keys: keys.collect() }
    }

    /// The keys for calls with this agent key, those that rest last.
    pub fn ranking(&self, agent_key_id: &str, now: i64) -> Ranking<'_> {
        let mut order = std::array::from_fn(|at| at as u8);
        if self.keys.len() > 1 {
            let mut scores = [(false, 0.0); MAX_KEYS];
            for (score, (key, weight)) in scores.iter_mut().zip(&self.keys) {
                *score = (key.health.rests(now), score_of(agent_key_id, &key.used.id, *weight));
            }
            order[..self.keys.len()].sort_by(|a, b| {
                let (a, b) = (scores[usize::from(*a)], scores[usize::from(*b)]);
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
            });
        }
        Ranking { set: self, order, next: 0 }
    }

    /// Whether there is a choice.
    pub fn has_several(&self) -> bool {
        self.keys.len() > 1
    }
}

impl<'a> Iterator for Ranking<'a> {
    type Item = &'a Arc<OpenKey>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.set.keys.len() {
            return None;
        }
        let key = self.set.keys.get(usize::from(self.order[self.next]));
        self.next += 1;
        key.map(|(key, _)| key)
    }
}

/// The smaller, the earlier: exponentially distributed with the weight as its rate.
fn score_of(agent_key_id: &str, general_key_id: &str, weight: f64) -> f64 {
    // This hasher's keys are fixed, so that every start and every replica come to the same choice.
    let mut hasher = DefaultHasher::new();
    agent_key_id.hash(&mut hasher);
    general_key_id.hash(&mut hasher);
    let uniform = ((hasher.finish() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -uniform.ln() / weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_weights_and_a_key_that_goes_moves_no_other_pair() {
        let keys = [("gk_a", 1.0), ("gk_b", 3.0), ("gk_c", 6.0)];
        let first = |agent: &str, keys: &[(&str, f64)]| {
            let score = |(id, weight): &(&str, f64)| score_of(agent, id, *weight);
            let best = keys.iter().min_by(|a, b| score(a).total_cmp(&score(b)));
            best.map(|(id, _)| (*id).to_owned()).unwrap_or_default()
        };
        let mut seen = std::collections::BTreeMap::new();
        for agent in 0..10_000 {
            let agent = format!("ak_{agent}");
            let chosen = first(&agent, &keys);
            if chosen != "gk_b" {
                assert_eq!(first(&agent, &[keys[0], keys[2]]), chosen, "without gk_b");
            }
            *seen.entry(chosen).or_insert(0) += 1;
        }
        let share = |id: &str| f64::from(seen[id]) / 10_000.0;
        assert!((share("gk_a") - 0.1).abs() < 0.02 && (share("gk_c") - 0.6).abs() < 0.02, "{seen:?}");
    }
}
