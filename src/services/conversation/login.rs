//! Passwords: argon2id, and the same time for a wrong name as for a wrong password.

use std::sync::LazyLock;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};

use crate::{
    backplane::{clock, database::Database, gate::Gate},
    contract::conversation::User,
    domain::failure::{Failure, Kind},
    services::conversation::store,
};

/// Shortest password that can be set, in characters.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Longest password looked at, in bytes: hashing is meant to be slow, not to be abused.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Id of the development user of the outward contract.
pub const DEV_USER_ID: &str = "550e8400-e29b-41d4-a716-446655440000";
/// Login name of the development user.
pub const DEV_USER_EMAIL: &str = "user@example.com";
/// Password of the development user, which exists on loopback only.
pub const DEV_USER_PASSWORD: &str = "password123";
/// Display name of the development user.
pub const DEV_USER_NAME: &str = "Test User";

/// A hash nobody's password has: what an unknown name is compared with.
static NOBODY: LazyLock<Option<String>> =
    LazyLock::new(|| hash_password(&uuid::Uuid::new_v4().to_string()).ok());

/// Hashes a password as a PHC string. Takes tens of milliseconds by intention.
///
/// # Errors
/// `internal_error` when hashing fails.
pub fn hash_password(password: &str) -> Result<String, Failure> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| Failure::new(Kind::Internal, format!("password not hashed: {error}")))
}

/// Prepares what an unknown name is compared with, so that the first one does not take longer.
///
/// # Errors
/// As [`Gate::run`], and `internal_error` when hashing fails.
pub async fn prepare(hashing: &Gate) -> Result<(), Failure> {
    let hashed = hashing.run(|_| NOBODY.is_some()).await?;
    if hashed { Ok(()) } else { Err(Failure::new(Kind::Internal, "passwords cannot be hashed")) }
}

fn matches(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// The user whose name and password these are; the id `excluded` counts as unknown.
///
/// # Errors
/// `invalid_credentials`, the same for both mistakes; `overloaded` when too many log in at once.
pub async fn log_in(
    database: &Database,
    hashing: &Gate,
    email: String,
    password: String,
    excluded: Option<&'static str>,
) -> Result<User, Failure> {
    let refused = || Failure::new(Kind::InvalidCredentials, "Invalid credentials");
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(refused());
    }
    let found = database
        .run("select", "users", move |connection| store::user_by_email(connection, &email))
        .await?
        .filter(|(user, _)| excluded != Some(user.user_id.as_str()));
    let (user, hash) = match found {
        Some((user, hash)) => (Some(user), hash),
        None => (None, None),
    };
    let right = hashing
        .run(move |_| {
            let known = hash.is_some();
            let against = hash.or_else(|| NOBODY.clone()).unwrap_or_default();
            matches(&against, &password) && known
        })
        .await?;
    user.filter(|_| right).ok_or_else(refused)
}

/// A password that may be set.
///
/// # Errors
/// `validation_error` that says what is asked for.
pub fn acceptable(password: &str) -> Result<(), Failure> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(Failure::invalid_field(
            "password",
            format!("must have {PASSWORD_CHARS_MIN} characters to {PASSWORD_BYTES_MAX} bytes"),
            "value_error",
        ));
    }
    Ok(())
}

/// Makes the development user, unless it exists.
///
/// # Errors
/// `database_error`.
pub async fn make_development_user(database: &Database) -> Result<(), Failure> {
    database
        .run("insert", "users", |connection| {
            if store::user_by_email(connection, DEV_USER_EMAIL)?.is_some() {
                return Ok(());
            }
            let user = User {
                user_id: DEV_USER_ID.to_owned(),
                name: DEV_USER_NAME.to_owned(),
                email: DEV_USER_EMAIL.to_owned(),
            };
            let hash = hash_password(DEV_USER_PASSWORD)?;
            store::add_user(connection, &user, Some(&hash), clock::now_micros())
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_password_only_and_is_salted() {
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(matches(&hash, "correct horse"));
        assert!(!matches(&hash, "wrong horse"));
        assert!(!matches("no hash", "x"));
        assert_ne!(hash, hash_password("correct horse").unwrap());
    }

    #[test]
    fn passwords_have_bounds() {
        assert!(acceptable("1234567").is_err());
        assert!(acceptable("12345678").is_ok());
        assert!(acceptable(&"x".repeat(1025)).is_err());
    }
}
