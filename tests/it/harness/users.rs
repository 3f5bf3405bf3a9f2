//! Who calls: users and services with tokens of the test secret.

use std::time::Duration;

use cortex::backplane::token::Tokens;

use super::SECRET;

/// Life of every token made here that is not meant to be expired.
const LIFE: Duration = Duration::from_secs(3600);

/// Someone with a token.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) token: String,
}

impl User {
    /// A user with a fresh id, so that nothing of another test can be theirs.
    pub(crate) fn new(name: &str) -> Self {
        User::with_id(name, &uuid::Uuid::new_v4().to_string())
    }

    /// A user whose id is given.
    pub(crate) fn with_id(name: &str, id: &str) -> Self {
        let email = format!("{name}@example.org");
        let token = Tokens::new(SECRET).for_user(id, name, &email, LIFE).unwrap();
        User { id: id.to_owned(), name: name.to_owned(), email, token }
    }
}

/// A token of the service `name`, good at the services `audience`.
pub(crate) fn service_token(name: &str, audience: &[&str]) -> String {
    Tokens::new(SECRET).for_service(name, audience, LIFE).unwrap()
}
