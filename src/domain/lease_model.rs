//! The bound on revocation, as a model whose every run is looked at: one key, one revocation, one replica that decides
//! from memory, and messages and pauses of any length between any two steps.
//!
//! [`super::replica`], [`super::agent_keys`] and [`super::key_cache`] take these steps in this order. Each [`Mistake`] is
//! an order that looks as good, and for each of them a run is found in which the bound is broken.

use stateright::{Checker, Model, Property};

/// How long a lease runs, in ticks.
const LEASE: u8 = 2;
/// After how many ticks a run is not looked at any more: the bound, and a renewal before and after it.
const LAST: u8 = 7;

/// An order of steps that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// The lease runs from when its renewal was answered.
    LeaseFromTheAnswer,
    /// The lease is renewed before the changes that the renewal told of are taken over.
    LeaseBeforeTheChanges,
    /// A look-up notes how far changes were taken over after it read, not before.
    GenerationAfterTheRead,
    /// What a look-up read is kept whatever was taken over meanwhile.
    FillWithoutALook,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    /// When the revocation was committed.
    revoked: Option<u8>,
    /// When the latest call was made that was accepted.
    accepted: Option<u8>,
    lease_until: u8,
    /// Whether the key is in memory, as a good one.
    is_cached: bool,
    /// Whether the revocation was taken over; it is the only change, so this is the generation as well.
    is_applied: bool,
    renewal: Renewal,
    look_up: LookUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Renewal {
    Idle,
    Sent {
        sent: u8,
    },
    /// The database has answered: whether there was a revocation by then.
    Answered {
        sent: u8,
        revoked: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum LookUp {
    None,
    /// For a call of this time, with this generation.
    Begun {
        called: u8,
        generation: bool,
    },
    /// The database has answered whether the key is good.
    Read {
        called: u8,
        generation: bool,
        is_good: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Tick,
    Revoke,
    SendRenewal,
    AnswerRenewal,
    LoseRenewal,
    TakeOver,
    Renew,
    Call,
    ReadKey,
    Fill,
}

struct Revocation(Mistake);

impl Model for Revocation {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            revoked: None,
            accepted: None,
            lease_until: 0,
            is_cached: false,
            is_applied: false,
            renewal: Renewal::Idle,
            look_up: LookUp::None,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        use Step::{AnswerRenewal, Call, Fill, LoseRenewal, ReadKey, Renew, Revoke, SendRenewal, TakeOver, Tick};
        steps.extend([Tick, Revoke, SendRenewal, AnswerRenewal, LoseRenewal, TakeOver, Renew, Call, ReadKey, Fill]);
        steps.retain(|step| state.allows(*step, self.0));
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut state = state.clone();
        state.take(step, self.0);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no call is accepted past the lease after a revocation", |_, state: &State| {
                match (state.revoked, state.accepted) {
                    (Some(revoked), Some(accepted)) => accepted <= revoked + LEASE,
                    _ => true,
                }
            }),
            Property::sometimes("a call is accepted from memory after a revocation", |_, state: &State| {
                state.revoked.zip(state.accepted).is_some_and(|(revoked, accepted)| accepted > revoked)
            }),
            Property::sometimes("a revocation is taken over", |_, state: &State| state.is_applied),
        ]
    }
}

impl State {
    fn allows(&self, step: Step, mistake: Mistake) -> bool {
        match step {
            Step::Tick => self.now < LAST,
            Step::Revoke => self.revoked.is_none(),
            Step::SendRenewal => self.renewal == Renewal::Idle,
            Step::AnswerRenewal => matches!(self.renewal, Renewal::Sent { .. }),
            // Cut off, or killed on the way.
            Step::LoseRenewal => self.renewal != Renewal::Idle,
            // By a notification or a renewal, at any time after the commit.
            Step::TakeOver => self.revoked.is_some() && !self.is_applied,
            Step::Renew => match self.renewal {
                Renewal::Answered { revoked, .. } => {
                    !revoked || self.is_applied || mistake == Mistake::LeaseBeforeTheChanges
                }
                _ => false,
            },
            Step::Call => self.now < self.lease_until && (self.is_cached || self.look_up == LookUp::None),
            Step::ReadKey => matches!(self.look_up, LookUp::Begun { .. }),
            Step::Fill => matches!(self.look_up, LookUp::Read { .. }),
        }
    }

    fn take(&mut self, step: Step, mistake: Mistake) {
        match step {
            Step::Tick => self.now += 1,
            Step::Revoke => self.revoked = Some(self.now),
            Step::SendRenewal => self.renewal = Renewal::Sent { sent: self.now },
            Step::AnswerRenewal => {
                if let Renewal::Sent { sent } = self.renewal {
                    self.renewal = Renewal::Answered { sent, revoked: self.revoked.is_some() };
                }
            }
            Step::LoseRenewal => self.renewal = Renewal::Idle,
            Step::TakeOver => {
                self.is_applied = true;
                self.is_cached = false;
            }
            Step::Renew => {
                if let Renewal::Answered { sent, .. } = self.renewal {
                    let from = if mistake == Mistake::LeaseFromTheAnswer { self.now } else { sent };
                    self.lease_until = self.lease_until.max(from + LEASE);
                }
                self.renewal = Renewal::Idle;
            }
            Step::Call if self.is_cached => self.accepted = Some(self.now),
            Step::Call => self.look_up = LookUp::Begun { called: self.now, generation: self.is_applied },
            Step::ReadKey => {
                if let LookUp::Begun { called, generation } = self.look_up {
                    self.look_up = LookUp::Read { called, generation, is_good: self.revoked.is_none() };
                }
            }
            Step::Fill => {
                let LookUp::Read { called, generation, is_good } = self.look_up else { return };
                let generation = if mistake == Mistake::GenerationAfterTheRead { self.is_applied } else { generation };
                self.look_up = LookUp::None;
                if is_good && (generation == self.is_applied || mistake == Mistake::FillWithoutALook) {
                    self.is_cached = true;
                    self.accepted = self.accepted.max(Some(called));
                }
            }
        }
    }
}

/// Whether every run keeps the bound.
fn holds(mistake: Mistake) -> bool {
    let checked = Revocation(mistake).checker().spawn_bfs().join();
    checked.discovery("no call is accepted past the lease after a revocation").is_none()
}

#[test]
fn no_run_accepts_a_call_past_the_lease_after_a_revocation() {
    Revocation(Mistake::None).checker().spawn_bfs().join().assert_properties();
}

#[test]
fn each_mistake_is_found_out() {
    for mistake in [
        Mistake::LeaseFromTheAnswer,
        Mistake::LeaseBeforeTheChanges,
        Mistake::GenerationAfterTheRead,
        Mistake::FillWithoutALook,
    ] {
        assert!(!holds(mistake), "{mistake:?}");
    }
}
