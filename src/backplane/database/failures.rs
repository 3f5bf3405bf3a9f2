//! What the store's own errors mean to whoever asked.

use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::domain::{
    failure::{Failure, Kind},
    storage_fault::Fault,
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
    log::error!("statement failed cause={error} meaning={}", fault.sentence());
    failure_of(fault)
}

/// A fault as what callers are told: to come back where it may pass.
#[must_use]
pub fn failure_of(fault: Fault) -> Failure {
    let kind = if fault == Fault::Locked { Kind::Overloaded } else { Kind::Storage };
    let failure = Failure::new(kind, fault.sentence());
    if fault.may_pass() { failure.retry_after(Duration::from_secs(1)) } else { failure }
}
