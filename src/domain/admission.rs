//! Who is let in while there is more to do than can be done: so many at once, and no user so many
//! that another finds no place.

use std::{collections::HashMap, sync::Arc};

/// How many are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// At once, over all users.
    pub max: usize,
    /// What the users who are inside may have together, in percent; they divide it evenly. The
    /// rest is kept for whoever comes next.
    pub shared_percent: usize,
}

/// Why someone is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// All places are taken.
    Full,
    /// This user has their fair part of them.
    Share,
}

/// Who is inside.
#[derive(Debug)]
pub struct Admission {
    places: Places,
    inside: usize,
    users: HashMap<Arc<str>, usize>,
}

impl Admission {
    /// Nobody yet.
    #[must_use]
    pub fn new(places: Places) -> Self {
        Admission { places, inside: 0, users: HashMap::new() }
    }

    /// How many are inside.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.inside
    }

    /// Lets one in; [`Admission::leave`] must follow, once. A service, which belongs to no user, is bound
    /// by the whole only.
    ///
    /// # Errors
    /// [`Refused`] when there is no place for them.
    pub fn enter(&mut self, user: Option<&Arc<str>>) -> Result<(), Refused> {
        if self.inside >= self.places.max {
            return Err(Refused::Full);
        }
        if let Some(user) = user {
            let own = self.users.get(user).copied().unwrap_or_default();
            let users = self.users.len() + usize::from(own == 0);
            if own >= part(self.places, users) {
                return Err(Refused::Share);
            }
            *self.users.entry(Arc::clone(user)).or_default() += 1;
        }
        self.inside += 1;
        Ok(())
    }

    /// One who was let in leaves.
    pub fn leave(&mut self, user: Option<&Arc<str>>) {
        self.inside = self.inside.saturating_sub(1);
        let Some(user) = user else { return };
        let Some(own) = self.users.get_mut(user) else { return };
        *own -= 1;
        if *own == 0 {
            self.users.remove(user);
        }
    }
}

/// What each of `users` may have; at least one place.
fn part(places: Places, users: usize) -> usize {
    let shared = places.max.saturating_mul(places.shared_percent.min(100)) / 100;
    (shared / users.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Arc<str> {
        name.into()
    }

    fn admission(max: usize) -> Admission {
        Admission::new(Places { max, shared_percent: 75 })
    }

    #[test]
    fn a_flood_leaves_a_place_for_whoever_comes_next() {
        let mut admission = admission(8);
        let (flood, ann) = (user("flood"), user("ann"));
        let entered = (0..100).filter(|_| admission.enter(Some(&flood)).is_ok()).count();
        assert_eq!(entered, 6);
        assert_eq!(admission.enter(Some(&flood)), Err(Refused::Share));
        assert_eq!(admission.enter(Some(&ann)), Ok(()));
        assert_eq!(admission.enter(None), Ok(()));
        assert_eq!(admission.enter(None), Err(Refused::Full));
        admission.leave(Some(&flood));
        assert_eq!(admission.enter(Some(&flood)), Err(Refused::Share), "two divide it now");
        assert_eq!(admission.enter(Some(&ann)), Ok(()));
    }

    #[test]
    fn whoever_leaves_is_forgotten() {
        let mut admission = admission(4);
        let ann = user("ann");
        for _ in 0..100 {
            admission.enter(Some(&ann)).unwrap();
            admission.leave(Some(&ann));
        }
        assert_eq!(admission.inside(), 0);
        assert!(admission.users.is_empty());
    }

    #[test]
    fn everyone_has_a_place_while_there_is_one() {
        let mut admission = admission(100);
        for number in 0..100 {
            assert_eq!(admission.enter(Some(&user(&number.to_string()))), Ok(()));
        }
        assert_eq!(admission.enter(Some(&user("more"))), Err(Refused::Full));
    }
}
