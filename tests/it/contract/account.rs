//! Logging in, being known, and what a token says.

use std::time::Duration;

use cortex::backplane::token::Tokens;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Client, Cluster, SECRET, User, assert_error, assert_json, users::service_token,
};

const FORM: &str = "application/x-www-form-urlencoded";
const RIGHT: &str = "username=user%40example.com&password=password123";
/// The development user of every generation.
const DEV_ID: &str = "550e8400-e29b-41d4-a716-446655440000";

fn logged_in() -> Value {
    json!({
        "access_token": "<token>", "token_type": "bearer", "expires_in": 86400,
        "claims": {"oid": DEV_ID, "name": "Test User", "email": "user@example.com"},
    })
}

async fn log_in(core: &Client, path: &str, kind: &str, body: &str) -> Answer {
    core.ask(actix_web::http::Method::POST, path).body(kind, body.to_owned()).send().await
}

/// The claims of a token, unchecked.
fn claims(token: &str) -> Value {
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token).unwrap();
    claims.claims
}

/// A token of the test secret with these claims.
fn signed(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

#[actix::test]
async fn a_login_is_taken_as_a_form_and_as_json_with_either_name() {
    let cluster = Cluster::start().await;
    let core = cluster.core.anonymous();
    let oauth = format!("grant_type=password&scope=&client_id=x&client_secret=y&{RIGHT}");
    for (kind, body) in [
        (FORM, RIGHT),
        (FORM, oauth.as_str()),
        ("application/json", r#"{"email": "user@example.com", "password": "password123"}"#),
        ("application/json", r#"{"username": "user@example.com", "password": "password123"}"#),
        (
            "application/json; charset=utf-8",
            r#"{"email":"user@example.com","password":"password123"}"#,
        ),
    ] {
        assert_json(&log_in(&core, "/auth/login", kind, body).await.ok(), logged_in());
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_v1_login_is_wrapped() {
    let cluster = Cluster::start().await;
    let core = cluster.core.anonymous();
    let answer = log_in(&core, "/v1/auth/login", FORM, RIGHT).await;
    assert_json(
        &answer.ok(),
        json!({
            "status": "success", "request_id": answer.header("x-request-id"),
            "timestamp": "<time>", "data": logged_in(),
        }),
    );
    cluster.stop().await;
}

#[actix::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    let cluster = Cluster::start().await;
    let core = cluster.core.anonymous();
    let mut bodies = Vec::new();
    for login in ["username=user%40example.com&password=wrong", "username=nobody&password=wrong"] {
        let answer = log_in(&core, "/auth/login", FORM, login).await;
        assert_error(&answer, 401, "invalid_credentials");
        let mut body = answer.json();
        assert_eq!(body["detail"], "Invalid credentials");
        body["request_id"].take();
        bodies.push(body);
    }
    assert_eq!(bodies.first(), bodies.last());
    cluster.stop().await;
}

#[actix::test]
async fn a_login_without_a_name_or_a_password_is_told_what_is_missing() {
    let cluster = Cluster::start().await;
    let core = cluster.core.anonymous();
    for (kind, body, missing) in [
        (FORM, "password=x", "username"),
        (FORM, "username=x", "password"),
        ("application/json", r#"{"password": "x"}"#, "username"),
        ("application/json", r#"{"email": "x"}"#, "password"),
    ] {
        let answer = log_in(&core, "/auth/login", kind, body).await;
        assert_error(&answer, 422, "validation_error");
        let errors = &answer.json()["error"]["details"]["validation_errors"];
        assert_json(
            errors,
            json!([{"loc": ["body", missing], "msg": "<text>", "type": "missing"}]),
        );
    }
    cluster.stop().await;
}

#[actix::test]
async fn a_token_says_who_its_bearer_is_and_how_long_it_is_good() {
    let cluster = Cluster::start().await;
    let core = cluster.core.anonymous();
    let answer = log_in(&core, "/auth/login", FORM, RIGHT).await.ok();
    let claims = claims(answer["access_token"].as_str().unwrap());
    assert_json(
        &claims,
        json!({
            "oid": DEV_ID, "sub": "user@example.com", "name": "Test User",
            "email": "user@example.com", "iat": "<int>", "exp": "<int>",
        }),
    );
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 86400);
    cluster.stop().await;
}

#[actix::test]
async fn the_life_of_tokens_is_a_setting() {
    let cluster = Cluster::builder().core_args(&["--jwt-expiration-hours", "2"]).start().await;
    let core = cluster.core.anonymous();
    let answer = log_in(&core, "/auth/login", FORM, RIGHT).await.ok();
    assert_eq!(answer["expires_in"], 7200);
    cluster.stop().await;
}

#[actix::test]
async fn verify_is_flat_on_both_paths() {
    let cluster = Cluster::start().await;
    let ann = User::new("ann");
    for path in ["/auth/verify", "/v1/auth/verify"] {
        assert_json(
            &cluster.core.of(&ann).get(path).await.ok(),
            json!({"user_id": ann.id, "name": ann.name, "email": ann.email}),
        );
    }
    cluster.stop().await;
}

#[actix::test]
async fn the_user_is_oid_or_else_sub_and_names_may_be_missing() {
    let cluster = Cluster::start().await;
    let verify =
        async |token: &str| cluster.core.anonymous().with_token(token).get("/auth/verify").await;
    let exp = 4_102_444_800_i64;
    let both = signed(&json!({"oid": "o", "sub": "s", "exp": exp}));
    let nameless = json!({"user_id": "o", "name": "", "email": ""});
    assert_json(&verify(&both).await.ok(), nameless);
    let sub = signed(&json!({"sub": "s", "name": "Sue", "email": "sue@x.org", "exp": exp}));
    assert_eq!(verify(&sub).await.ok()["user_id"], "s");
    let neither = signed(&json!({"name": "x", "exp": exp}));
    assert_error(&verify(&neither).await, 401, "auth_error");
    cluster.stop().await;
}

#[actix::test]
async fn without_a_token_that_verifies_nothing_is_answered() {
    let cluster = Cluster::start().await;
    let core = cluster.core.anonymous();
    let answer = core.get("/auth/verify").await;
    assert_error(&answer, 401, "auth_error");
    assert_eq!(answer.json()["detail"], "Not authenticated");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    let other = Tokens::new("another secret that has thirty-two bytes too");
    let foreign = other.for_user("u", "n", "e", Duration::from_secs(60)).unwrap();
    let unsigned = "eyJhbGciOiJub25lIn0.eyJvaWQiOiJ1IiwiZXhwIjo0MTAyNDQ0ODAwfQ.";
    for token in ["", "x", "a.b.c", foreign.as_str(), unsigned] {
        assert_error(&core.with_token(token).get("/auth/verify").await, 401, "auth_error");
    }
    let old = signed(&json!({"oid": "u", "sub": "u", "exp": 1_700_000_000}));
    assert_error(&core.with_token(&old).get("/auth/verify").await, 401, "token_expired");
    let service = service_token("memory", &["core"]);
    let answer = core.with_token(&service).get("/auth/verify").await;
    assert_error(&answer, 403, "permission_denied");
    let elsewhere = service_token("core", &["memory"]);
    assert_error(&core.with_token(&elsewhere).get("/auth/verify").await, 401, "auth_error");
    cluster.stop().await;
}

#[actix::test]
async fn a_token_in_the_query_is_taken_on_streams_only() {
    let cluster = Cluster::start().await;
    let core = cluster.core.anonymous();
    let User { token, .. } = User::new("ann");
    for path in ["/auth/verify", "/config/workspace", "/services", "/v1/workspace"] {
        let answer = core.get(&format!("{path}?token={token}")).await;
        assert_error(&answer, 401, "auth_error");
    }
    let path = format!("/resource/history/x?token={token}");
    assert_error(&cluster.memory.anonymous().get(&path).await, 401, "auth_error");
    for path in ["/output/stream", "/v1/output/stream", "/v1/conversation/default/messages/stream"]
    {
        let mut events = core.events(&format!("{path}?token={token}")).await;
        assert_eq!(events.next_event().await["type"], "connection_established");
    }
    assert_error(&core.get("/output/stream?token=x").await, 401, "auth_error");
    cluster.stop().await;
}
