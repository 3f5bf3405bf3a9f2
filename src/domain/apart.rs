//! Which entries are passed over for now, because memory fails at them and not at others.
//!
//! Memory that fails at one entry again and again may be sick, or the entry may be. Passing it over
//! shows which: where the next one fails as well, memory is sick, and the order stays as it was;
//! where it is taken, the entry gets one more chance, and is then held back for a while. What follows
//! it in its conversation waits behind it.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// Conversations held back at once, at most.
const HELD_MAX: usize = 64;

/// The entries that are under suspicion, and those that are passed over.
#[derive(Debug)]
pub struct Apart {
    attempts_max: u32,
    again_after: Duration,
    suspects: BTreeMap<i64, Suspect>,
    held: Vec<Held>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Suspect {
    failures: u32,
    /// Whether others were taken while this one was not.
    proven: bool,
}

/// An entry that is passed over, with what follows it in its conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its place in the order.
    pub place: i64,
    /// Whose it is.
    pub user: String,
    /// Where it was said.
    pub conversation: String,
    /// When it takes its turn again; without, as soon as it is known whether others are taken.
    until: Option<Instant>,
}

/// What a failure of an entry that was carried alone leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is tried again.
    Again,
    /// It is passed over from now on; for a while, if it is `proven` that others are taken.
    PassOver {
        /// Whether others were taken while this one was not.
        proven: bool,
    },
    /// Others fail as well: these take their turns again, in the old order.
    MemoryIsSick(Vec<Held>),
}

impl Apart {
    /// Nothing is under suspicion yet. An entry is passed over after `attempts_max` failures, and
    /// takes its turn again after `again_after`.
    #[must_use]
    pub fn new(attempts_max: u32, again_after: Duration) -> Self {
        Apart { attempts_max, again_after, suspects: BTreeMap::new(), held: Vec::new() }
    }

    /// The entries that must be carried alone.
    #[must_use]
    pub fn suspects(&self) -> Vec<i64> {
        self.suspects.keys().copied().collect()
    }

    /// Whether nothing is under suspicion and nothing passed over.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.suspects.is_empty() && self.held.is_empty()
    }

    /// What is passed over.
    #[must_use]
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// Memory failed at an entry that was carried alone.
    pub fn failed(&mut self, place: i64, user: &str, conversation: &str, now: Instant) -> Step {
        let suspect = self.suspects.entry(place).or_default();
        suspect.failures = suspect.failures.saturating_add(1);
        let proven = suspect.proven;
        if suspect.failures < self.attempts_max {
            return Step::Again;
        }
        if !proven && self.held.iter().any(|held| held.until.is_none()) {
            self.suspects.clear();
            let (sick, held) = std::mem::take(&mut self.held)
                .into_iter()
                .partition(|held: &Held| held.until.is_none());
            self.held = held;
            return Step::MemoryIsSick(sick);
        }
        if self.held.len() >= HELD_MAX {
            return Step::Again;
        }
        let until = proven.then(|| now + self.again_after);
        let (user, conversation) = (user.to_owned(), conversation.to_owned());
        self.held.push(Held { place, user, conversation, until });
        Step::PassOver { proven }
    }

    /// Memory took this entry. What was passed over to see whether it would gets one more chance.
    pub fn delivered(&mut self, place: i64) -> Vec<Held> {
        self.suspects.remove(&place);
        let (chances, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held: &Held| held.until.is_none());
        self.held = held;
        self.give_chances(&chances, true);
        chances
    }

    /// What takes its turn again by now.
    pub fn due(&mut self, now: Instant) -> Vec<Held> {
        let (due, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held: &Held| held.until.is_some_and(|until| until <= now));
        self.held = held;
        self.give_chances(&due, true);
        due
    }

    /// An operator wants this entry to take its turn again, or it is gone.
    pub fn release(&mut self, place: i64) -> Option<Held> {
        self.suspects.remove(&place);
        let at = self.held.iter().position(|held| held.place == place)?;
        Some(self.held.swap_remove(at))
    }

    /// When the next one takes its turn again, if any does by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.held.iter().filter_map(|held| held.until).min()
    }

    /// Nothing else is there to be carried: what was passed over to see is tried again.
    pub fn alone(&mut self) -> Vec<Held> {
        let (chances, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held: &Held| held.until.is_none());
        self.held = held;
        self.give_chances(&chances, false);
        chances
    }

    /// One failure more is enough for each of them.
    fn give_chances(&mut self, to: &[Held], proven: bool) {
        let failures = if proven { self.attempts_max.saturating_sub(1) } else { 0 };
        for held in to {
            self.suspects.insert(held.place, Suspect { failures, proven });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Duration = Duration::from_secs(30);

    fn places(held: &[Held]) -> Vec<i64> {
        held.iter().map(|held| held.place).collect()
    }

    /// An entry that memory fails at until it is passed over.
    fn passed_over(apart: &mut Apart, place: i64, now: Instant) {
        assert_eq!(apart.failed(place, "u", "c", now), Step::Again);
        assert_eq!(apart.failed(place, "u", "c", now), Step::PassOver { proven: false });
    }

    #[tokio::test]
    async fn an_entry_that_fails_while_others_are_taken_is_held_for_a_while() {
        let now = Instant::now();
        let mut apart = Apart::new(2, AGAIN);
        passed_over(&mut apart, 1, now);
        assert_eq!(places(&apart.delivered(2)), [1], "one more chance");
        assert!(apart.suspects() == [1] && apart.held().is_empty());
        assert_eq!(apart.failed(1, "u", "c", now), Step::PassOver { proven: true });
        assert!(apart.delivered(3).is_empty(), "now it is known");
        assert_eq!(apart.next_due(), Some(now + AGAIN));
        assert!(apart.due(now).is_empty());
        assert_eq!(places(&apart.due(now + AGAIN)), [1]);
        let again = apart.failed(1, "u", "c", now);
        assert_eq!(again, Step::PassOver { proven: true }, "once more is enough");
        assert_eq!(apart.release(1).map(|held| held.place), Some(1));
        assert!(apart.is_idle());
    }

    #[tokio::test]
    async fn where_all_fail_the_order_stays() {
        let now = Instant::now();
        let mut apart = Apart::new(2, AGAIN);
        passed_over(&mut apart, 1, now);
        assert_eq!(apart.failed(2, "u", "d", now), Step::Again);
        let Step::MemoryIsSick(back) = apart.failed(2, "u", "d", now) else { panic!("sick") };
        assert_eq!(places(&back), [1]);
        assert!(apart.is_idle());
    }

    #[tokio::test]
    async fn without_others_it_takes_its_turn_again() {
        let now = Instant::now();
        let mut apart = Apart::new(2, AGAIN);
        passed_over(&mut apart, 1, now);
        assert_eq!(places(&apart.alone()), [1]);
        passed_over(&mut apart, 1, now);
        assert_eq!(apart.next_due(), None);
    }
}
