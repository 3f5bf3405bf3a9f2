//! What the store's own errors mean to whoever asked.

use std::{path::Path, time::Duration};

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::{
    backplane::seldom::Seldom,
    domain::{
        failure::{Failure, Kind},
        storage_fault::Fault,
    },
};

impl From<DieselError> for Failure {
    fn from(error: DieselError) -> Self {
        storage_failure(&error)
    }
}

/// What a failed statement means: a duplicate is the caller's, the rest is ours and logged here.
#[must_use]
pub fn storage_failure(error: &DieselError) -> Failure {
    if let DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) = error {
        return Failure::new(Kind::Conflict, "it exists already");
    }
    if let DieselError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _) = error {
        return Failure::new(Kind::Conflict, "it refers to something that does not exist");
    }
    let fault = Fault::of(&error.to_string());
    if let Some(count) = untold(fault) {
        let meaning = fault.sentence();
        log::error!("statement failed cause={error} meaning={meaning} count={count}");
    }
    failure_of(fault)
}

/// How often a fault occurred since it was last told, if it is to be told: a store that fails does
/// so with every request. What is not known is always told.
fn untold(fault: Fault) -> Option<u64> {
    static FAILED: [Seldom; Fault::ALL.len()] = [const { Seldom::new() }; Fault::ALL.len()];
    let place = Fault::ALL.iter().position(|known| *known == fault)?;
    if fault == Fault::Other { Some(1) } else { FAILED.get(place)?.happened() }
}

/// A fault as what callers are told: to come back where it may pass.
#[must_use]
pub fn failure_of(fault: Fault) -> Failure {
    let kind = if fault == Fault::Locked { Kind::Overloaded } else { Kind::Storage };
    let failure = Failure::new(kind, fault.sentence());
    if fault.may_pass() { failure.retry_after(Duration::from_secs(1)) } else { failure }
}

/// A failure of the store at `path`, which it names.
#[must_use]
pub fn naming(path: &Path, mut failure: Failure) -> Failure {
    let path = path.display().to_string();
    if !failure.message.contains(&path) {
        failure.message = format!("{path}: {}", failure.message);
    }
    failure
}

/// What went wrong with a file: what it means, and the cause itself.
pub(super) fn of_file(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    let text = error.to_string();
    let fault = Fault::of(&text);
    let path = path.display();
    if fault == Fault::Other {
        return Failure::new(Kind::Storage, format!("{path}: {text}"));
    }
    Failure::new(Kind::Storage, format!("{path}: {} ({text})", fault.sentence()))
}
