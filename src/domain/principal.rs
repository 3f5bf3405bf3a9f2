//! Who is asking, and whose data that lets them touch.

use crate::domain::failure::Failure;

/// A caller whose token was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A person: reaches their own data only.
    User {
        /// The id everything is stored under (`oid`).
        id: String,
        /// Display name; may be empty.
        name: String,
        /// Mail address; may be empty.
        email: String,
    },
    /// Another service, with a token made for this one: acts for any user.
    Service {
        /// Its name.
        name: String,
    },
}

impl Principal {
    /// Whether data of `user_id` may be touched.
    #[must_use]
    pub fn may_act_for(&self, user_id: &str) -> bool {
        match self {
            Principal::User { id, .. } => id == user_id,
            Principal::Service { .. } => true,
        }
    }

    /// [`Principal::may_act_for`] as a check.
    ///
    /// # Errors
    /// `permission_denied` when the data is somebody else's.
    pub fn must_act_for(&self, user_id: &str) -> Result<(), Failure> {
        if self.may_act_for(user_id) {
            Ok(())
        } else {
            Err(Failure::denied("this token does not reach the data of that user"))
        }
    }

    /// Whose data this caller is confined to; `None` for a service.
    #[must_use]
    pub fn confined_to(&self) -> Option<&str> {
        match self {
            Principal::User { id, .. } => Some(id),
            Principal::Service { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_reach_their_own_data_services_reach_any() {
        let user = Principal::User { id: "u1".into(), name: String::new(), email: String::new() };
        assert!(user.must_act_for("u1").is_ok());
        assert!(user.must_act_for("u2").is_err());
        assert!(Principal::Service { name: "core".into() }.may_act_for("u2"));
    }
}
