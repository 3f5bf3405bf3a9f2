//! Whether a store was found to be damaged: from then on it is not written, and health says so.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::failure_of;
use crate::domain::{
    failure::{Failure, Kind},
    storage_fault::Fault,
};

/// What a process has found out about its store. Cheap to clone; clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct Damage(Arc<AtomicBool>);

impl Damage {
    /// Remembers a failure that tells of damage.
    pub fn learn(&self, failure: &Failure) {
        let tells = [Fault::Damaged, Fault::Foreign]
            .iter()
            .any(|fault| failure.message.contains(fault.sentence()));
        if failure.kind == Kind::Storage && tells && !self.0.swap(true, Ordering::AcqRel) {
            log::error!("the store is damaged and is not written any more until it is restored");
        }
    }

    /// Whether the store may be used as a whole.
    ///
    /// # Errors
    /// `database_error` once damage was found.
    pub fn refuse(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Acquire) { Err(failure_of(Fault::Damaged)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_remembered_by_all_clones_and_other_failures_are_not_damage() {
        let damage = Damage::default();
        let known = damage.clone();
        damage.learn(&failure_of(Fault::Full));
        damage.learn(&Failure::not_found("item", "1"));
        assert_eq!(known.refuse(), Ok(()));
        damage.learn(&failure_of(Fault::Damaged));
        assert_eq!(known.refuse().unwrap_err().kind, Kind::Storage);
    }
}
