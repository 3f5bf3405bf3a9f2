//! Who is let in: an OAuth 2.1 resource server, and sessions that are their user's alone.

use std::time::Duration;

use actix_web::http::Method;
use cortex::backplane::token::Tokens;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::server::{Server, Session, ask, call, modern, next};
use crate::harness::{SECRET, User, assert_error, users::service_token};

const PUBLIC: &str = "https://cortex.example.com";

#[actix_rt::test]
async fn whoever_has_no_good_token_learns_where_to_get_one() {
    let server = Server::guarded(&[]);
    let base = format!("http://{}", server.address);
    let metadata = format!("{base}/.well-known/oauth-protected-resource/mcp");
    let answer = call(&server.client(), "show").send().await;
    assert_error(&answer, 401, "auth_error");
    let challenge = answer.header("www-authenticate").unwrap();
    assert_eq!(challenge, format!("Bearer resource_metadata=\"{metadata}\", scope=\"mcp\""));
    for bad in ["nonsense", &service_token("core", &["memory"])] {
        let answer = call(&server.client().with_token(bad), "show").send().await;
        assert_error(&answer, 401, "auth_error");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer error=\"invalid_token\", resource_metadata="));
    }
    for path in ["/.well-known/oauth-protected-resource", &metadata[base.len()..]] {
        let found = server.client().get(path).await.ok();
        assert_eq!(found["resource"], format!("{base}/mcp"));
        assert_eq!(found["authorization_servers"], json!([base]));
        assert_eq!(found["bearer_methods_supported"], json!(["header"]));
        assert_eq!(found["scopes_supported"], json!(["mcp"]));
    }
    // Streams and sessions are behind the same door, and a token in the query opens nothing.
    let ann = User::new("ann");
    let listening = server.client().ask(Method::GET, &format!("/mcp?token={}", ann.token));
    assert_error(&listening.send().await, 401, "auth_error");
    assert_error(&Session::try_begin(&server.client()).await, 401, "auth_error");
    server.stop().await;
}

#[actix_rt::test]
async fn what_the_operator_says_of_urls_and_issuers_is_what_clients_learn() {
    let issuers = "https://login.example.com, https://other.example.com";
    let server = Server::guarded(&["--public-url", PUBLIC, "--mcp-authorization-servers", issuers]);
    let answer = call(&server.client(), "show").send().await;
    let metadata = format!("{PUBLIC}/.well-known/oauth-protected-resource/mcp");
    assert!(answer.header("www-authenticate").unwrap().contains(&metadata));
    let found = server.client().get("/.well-known/oauth-protected-resource/mcp").await.ok();
    assert_eq!(found["resource"], format!("{PUBLIC}/mcp"));
    let both = json!(["https://login.example.com", "https://other.example.com"]);
    assert_eq!(found["authorization_servers"], both);
    server.stop().await;
}

#[actix_rt::test]
async fn a_token_that_names_audiences_must_name_this_server() {
    let server = Server::guarded(&["--public-url", PUBLIC]);
    let token = |audience: Value| {
        let claims = json!({ "sub": "a@example.org", "oid": "u1", "aud": audience, "exp": 9_999_999_999_i64 });
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
    };
    let resource = format!("{PUBLIC}/mcp");
    let slash = format!("{PUBLIC}/");
    for good in [json!(resource), json!(["elsewhere", PUBLIC]), json!(slash), json!("showing")] {
        let answer = call(&server.client().with_token(&token(good.clone())), "show").send().await;
        assert_eq!(answer.status, 200, "{good}: {}", answer.text());
    }
    let longer = format!("{PUBLIC}.evil.example.com/mcp");
    for bad in [json!("https://elsewhere.example.com"), json!([]), json!(longer), json!("")] {
        let answer = call(&server.client().with_token(&token(bad.clone())), "show").send().await;
        assert_error(&answer, 401, "auth_error");
    }
    server.stop().await;
}

#[actix_rt::test]
async fn the_metadata_is_not_there_where_nobody_needs_a_token() {
    let server = Server::open(&[]);
    let answer = server.client().get("/.well-known/oauth-protected-resource").await;
    assert_error(&answer, 404, "resource_not_found");
    server.stop().await;
}

#[actix_rt::test]
async fn a_session_is_as_good_as_none_to_another_user() {
    let server = Server::guarded(&[]);
    let (ann, bob) = (User::new("ann"), User::new("bob"));
    let anns = Session::begin(&server.client().with_token(&ann.token)).await;
    let stolen = Session { client: server.client().with_token(&bob.token), id: anns.id.clone() };
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    assert_error(&stolen.post(&ping).send().await, 404, "resource_not_found");
    assert_error(&stolen.ask(Method::GET).send().await, 404, "resource_not_found");
    assert_error(&stolen.ask(Method::DELETE).send().await, 404, "resource_not_found");
    assert!(next(&mut anns.call(3, "show").await).await.is_some());
    server.stop().await;
}

#[actix_rt::test]
async fn streams_end_with_their_readers_token() {
    let server = Server::guarded(&[]);
    let brief = Tokens::new(SECRET).for_user("u", "", "", Duration::from_secs(2)).unwrap();
    let client = server.client().with_token(&brief);
    let session = Session::begin(&client).await;
    let mut stream = session.ask(Method::GET).try_open().await.unwrap();
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    let listening = ask(&client, &modern(5, "subscriptions/listen", wanted));
    let mut listening = listening.try_open().await.unwrap();
    let first = next(&mut listening).await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    // In good order: with a result, which says that it was the last message.
    let last = next(&mut listening).await.unwrap();
    assert_eq!(last["id"], 5, "{last}");
    assert_eq!(next(&mut listening).await, None);
    assert_eq!(next(&mut stream).await, None);
    server.stop().await;
}
