//! Tokens: who the bearer is (HS256 JWT), made and read.
//!
//! A user's token carries the claims of the outward contract: `oid` is the identity, `sub` the mail
//! address. A service's token carries `aud`, the services it is good for, and lives minutes.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::http::header::HeaderValue;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use crate::{
    backplane::{clock, locks::lock},
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
};

/// Shortest secret taken, in bytes (RFC 7518, section 3.2: at least as long as the hash).
pub const SECRET_BYTES_MIN: usize = 32;
/// Life of a token one service makes for another.
pub const SERVICE_TOKEN_LIFE: Duration = Duration::from_secs(300);
/// A service token is made anew when it has less than this left.
const SERVICE_TOKEN_RENEWAL: i64 = 60;
const SERVICE_SUBJECT: &str = "service:";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<Audience>,
    #[serde(default)]
    iat: i64,
    exp: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Tokens remembered as verified; beyond that all are forgotten and verified anew.
const VERIFIED_MAX: usize = 10_000;

/// Makes and reads tokens with one secret. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    signing: Arc<EncodingKey>,
    reading: Arc<DecodingKey>,
    validation: Arc<Validation>,
    verified: Arc<Mutex<HashMap<Box<str>, Arc<Claims>>>>,
}

/// Who a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user or service.
    pub principal: Principal,
    /// Seconds since 1970 at which the token ends.
    pub expires: i64,
    /// For whom the token of a user is meant, if it says so; what else a token may be meant for is
    /// checked when it is read.
    pub audience: Option<Arc<[String]>>,
}

impl Identity {
    /// Of a user who need not show anything.
    #[must_use]
    pub fn of_user(id: &str) -> Self {
        let principal =
            Principal::User { id: id.to_owned(), name: String::new(), email: String::new() };
        Identity { principal, expires: i64::MAX, audience: None }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(secret)")
    }
}

impl Tokens {
    /// Tokens signed with `secret`.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.validate_aud = false; // checked in `read`: users' tokens have none
        Tokens {
            signing: Arc::new(EncodingKey::from_secret(secret.as_bytes())),
            reading: Arc::new(DecodingKey::from_secret(secret.as_bytes())),
            validation: Arc::new(validation),
            verified: Arc::default(),
        }
    }

    /// A token for a user, good for `life`.
    ///
    /// # Errors
    /// `internal_error` when signing fails.
    pub fn for_user(
        &self,
        id: &str,
        name: &str,
        email: &str,
        life: Duration,
    ) -> Result<String, Failure> {
        self.sign(&Claims {
            sub: email.to_owned(),
            oid: Some(id.to_owned()),
            name: Some(name.to_owned()),
            email: Some(email.to_owned()),
            aud: None,
            iat: clock::now_seconds(),
            exp: expiry(life),
        })
    }

    /// A token for the service `name`, good at the services in `audience` for `life`.
    ///
    /// # Errors
    /// `internal_error` when signing fails.
    pub fn for_service(
        &self,
        name: &str,
        audience: &[&str],
        life: Duration,
    ) -> Result<String, Failure> {
        self.sign(&Claims {
            sub: format!("{SERVICE_SUBJECT}{name}"),
            oid: None,
            name: None,
            email: None,
            aud: Some(Audience::Many(audience.iter().map(|name| (*name).to_owned()).collect())),
            iat: clock::now_seconds(),
            exp: expiry(life),
        })
    }

    /// Whose token this is, as the service `audience` sees it.
    ///
    /// # Errors
    /// `token_expired`; `auth_error` for anything else that is wrong with it.
    pub fn read(&self, token: &str, audience: &str) -> Result<Principal, Failure> {
        self.identify(token, audience).map(|identity| identity.principal)
    }

    /// Whose token this is, as the service `audience` sees it, and until when.
    ///
    /// # Errors
    /// As [`Tokens::read`].
    pub fn identify(&self, token: &str, audience: &str) -> Result<Identity, Failure> {
        let claims = self.verify(token)?;
        let principal = principal(&claims, audience)?;
        let audience = match (&principal, &claims.aud) {
            (Principal::User { .. }, Some(Audience::One(one))) => Some([one.clone()].into()),
            (Principal::User { .. }, Some(Audience::Many(many))) => Some(many.as_slice().into()),
            (Principal::User { .. }, None) | (Principal::Service { .. }, _) => None,
        };
        Ok(Identity { principal, expires: claims.exp, audience })
    }

    /// The claims of a token that verifies. What verified before is remembered: checking the
    /// signature costs as much as a tenth of a whole request.
    fn verify(&self, token: &str) -> Result<Arc<Claims>, Failure> {
        let now = clock::now_seconds();
        if let Some(known) = lock(&self.verified).get(token).filter(|known| known.exp > now) {
            return Ok(Arc::clone(known));
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.reading, &self.validation);
        let claims = decoded.map_err(|error| {
            if matches!(error.kind(), ErrorKind::ExpiredSignature) {
                Failure::new(Kind::TokenExpired, "the token has expired")
            } else {
                Failure::new(Kind::Unauthorized, "the token is not valid")
            }
        })?;
        let claims = Arc::new(claims.claims);
        let mut verified = lock(&self.verified);
        if verified.len() >= VERIFIED_MAX {
            verified.clear();
        }
        verified.insert(token.into(), Arc::clone(&claims));
        Ok(claims)
    }

    fn sign(&self, claims: &Claims) -> Result<String, Failure> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.signing)
            .map_err(|error| Failure::new(Kind::Internal, format!("token not signed: {error}")))
    }
}

/// Who the claims speak of, as the service `audience` sees it.
fn principal(claims: &Claims, audience: &str) -> Result<Principal, Failure> {
    if let Some(name) = claims.sub.strip_prefix(SERVICE_SUBJECT) {
        let good_here = match &claims.aud {
            Some(Audience::One(one)) => one == audience,
            Some(Audience::Many(many)) => many.iter().any(|one| one == audience),
            None => false,
        };
        return if good_here {
            Ok(Principal::Service { name: name.to_owned() })
        } else {
            Err(Failure::new(Kind::Unauthorized, "the token is not meant for this service"))
        };
    }
    let id = claims.oid.clone().unwrap_or_else(|| claims.sub.clone());
    if id.is_empty() {
        return Err(Failure::new(Kind::Unauthorized, "the token names no user"));
    }
    Ok(Principal::User {
        id,
        name: claims.name.clone().unwrap_or_default(),
        email: claims.email.clone().unwrap_or_default(),
    })
}

fn expiry(life: Duration) -> i64 {
    clock::now_seconds().saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX))
}

/// A service's own token for one other service, made anew before it runs out.
#[derive(Debug)]
pub struct ServiceToken {
    tokens: Tokens,
    name: String,
    audience: String,
    current: Mutex<Option<(HeaderValue, i64)>>,
}

impl ServiceToken {
    /// Tokens of service `name` for calls to `audience`.
    #[must_use]
    pub fn new(tokens: Tokens, name: &str, audience: &str) -> Self {
        ServiceToken {
            tokens,
            name: name.to_owned(),
            audience: audience.to_owned(),
            current: Mutex::new(None),
        }
    }

    /// The `Authorization` header with one that is good for at least another minute.
    ///
    /// # Errors
    /// `internal_error` when signing fails.
    pub fn get(&self) -> Result<HeaderValue, Failure> {
        let mut current = lock(&self.current);
        let now = clock::now_seconds();
        if let Some((token, until)) = current.as_ref()
            && *until - now > SERVICE_TOKEN_RENEWAL
        {
            return Ok(token.clone());
        }
        let made =
            self.tokens.for_service(&self.name, &[self.audience.as_str()], SERVICE_TOKEN_LIFE)?;
        let mut token = HeaderValue::try_from(format!("Bearer {made}"))
            .map_err(|error| Failure::new(Kind::Internal, format!("token not sent: {error}")))?;
        token.set_sensitive(true);
        *current = Some((token.clone(), expiry(SERVICE_TOKEN_LIFE)));
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_users_token_is_read_back_by_every_service() {
        let tokens = Tokens::new(SECRET);
        let token = tokens.for_user("u1", "Ann", "ann@example.com", HOUR).unwrap();
        let expected = Principal::User {
            id: "u1".into(),
            name: "Ann".into(),
            email: "ann@example.com".into(),
        };
        assert_eq!(tokens.read(&token, "core"), Ok(expected.clone()));
        assert_eq!(tokens.read(&token, "memory"), Ok(expected));
    }

    #[test]
    fn without_oid_the_subject_is_the_user() {
        #[derive(Serialize)]
        struct Old {
            sub: &'static str,
            exp: i64,
        }
        let tokens = Tokens::new(SECRET);
        let claims = Old { sub: "u7", exp: expiry(HOUR) };
        let token = jsonwebtoken::encode(&Header::default(), &claims, &tokens.signing).unwrap();
        assert_eq!(tokens.read(&token, "core").unwrap().confined_to(), Some("u7"));
    }

    #[test]
    fn a_service_token_is_good_for_its_audience_only() {
        let tokens = Tokens::new(SECRET);
        let token = tokens.for_service("core", &["memory"], HOUR).unwrap();
        assert_eq!(tokens.read(&token, "memory"), Ok(Principal::Service { name: "core".into() }));
        assert_eq!(tokens.read(&token, "cognition").unwrap_err().kind, Kind::Unauthorized);
    }

    #[test]
    fn expired_forged_unsigned_and_garbled_tokens_are_refused() {
        let tokens = Tokens::new(SECRET);
        let claims = Claims {
            sub: "x".into(),
            oid: Some("u".into()),
            name: None,
            email: None,
            aud: None,
            iat: 0,
            exp: clock::now_seconds() - 1,
        };
        let expired = tokens.sign(&claims).unwrap();
        assert_eq!(tokens.read(&expired, "core").unwrap_err().kind, Kind::TokenExpired);
        let other = Tokens::new("another secret of thirty-two bytes");
        let forged = other.for_user("u", "", "", HOUR).unwrap();
        let unsigned =
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ4IiwiZXhwIjo5OTk5OTk5OTk5fQ.";
        for bad in [forged.as_str(), unsigned, "", "a.b.c", "\u{0}"] {
            assert_eq!(tokens.read(bad, "core").unwrap_err().kind, Kind::Unauthorized, "{bad:?}");
        }
    }

    #[test]
    fn what_is_remembered_ends_with_the_token_and_is_bounded() {
        let tokens = Tokens::new(SECRET);
        let token = tokens.for_user("u", "", "", HOUR).unwrap();
        let identity = tokens.identify(&token, "core").unwrap();
        assert!(identity.expires > clock::now_seconds());
        let claims = Arc::clone(&tokens.verified.lock().unwrap()[token.as_str()]);
        let ended = Claims { exp: clock::now_seconds(), ..(*claims).clone() };
        tokens.verified.lock().unwrap().insert(token.as_str().into(), Arc::new(ended));
        assert_eq!(tokens.read(&token, "core"), Ok(identity.principal), "verified anew");
        for number in 0..VERIFIED_MAX {
            let key = number.to_string();
            tokens.verified.lock().unwrap().insert(key.as_str().into(), Arc::clone(&claims));
        }
        tokens.read(&tokens.for_user("v", "", "", HOUR).unwrap(), "core").unwrap();
        assert!(tokens.verified.lock().unwrap().len() <= VERIFIED_MAX);
    }

    #[test]
    fn a_service_token_is_kept_until_it_nears_its_end() {
        let source = ServiceToken::new(Tokens::new(SECRET), "core", "memory");
        let first = source.get().unwrap();
        assert_eq!(first, source.get().unwrap());
        let old = HeaderValue::from_static("old");
        *source.current.lock().unwrap() = Some((old.clone(), clock::now_seconds() + 120));
        assert_eq!(source.get().unwrap(), old);
        *source.current.lock().unwrap() = Some((old.clone(), clock::now_seconds() + 10));
        assert_ne!(source.get().unwrap(), old);
    }
}
