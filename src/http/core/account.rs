//! `/auth/login` and `/auth/verify`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{self, Data},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::failure::{Failure, Kind},
    http::{
        body,
        core::{
            Core,
            style::{Style, wrapped},
        },
        problem::Problem,
    },
    services::conversation::{Caller, login},
};

/// A login, in every form clients send: `username` or `email`, as a form or as JSON. The further
/// fields of the OAuth2 password form are tolerated.
#[derive(Debug, Deserialize)]
struct Login {
    username: Option<String>,
    email: Option<String>,
    password: Option<String>,
}

/// `POST /auth/login`.
pub(crate) async fn log_in(
    request: HttpRequest,
    style: Style,
    payload: web::Payload,
    core: Data<Core>,
) -> Result<HttpResponse, Problem> {
    let bytes = body::read(&request, payload.into_inner()).await?;
    let login = parse(&request, &bytes)?;
    let missing = |field| Failure::invalid_field(field, "field required", "missing");
    let name = login.username.or(login.email).ok_or_else(|| missing("username"))?;
    let password = login.password.ok_or_else(|| missing("password"))?;
    // Its password is public: where it is not wanted it does not exist, also in a database that
    // had it before.
    let strangers = if core.dev_user { None } else { Some(login::DEV_USER_ID) };
    let user = login::log_in(&core.database, &core.hashing, name, password, strangers).await?;
    let token = core.tokens.for_user(&user.user_id, &user.name, &user.email, core.token_life)?;
    let data = json!({
        "access_token": token,
        "token_type": "bearer",
        "expires_in": core.token_life.as_secs(),
        "claims": {"oid": user.user_id, "name": user.name, "email": user.email},
    });
    Ok(HttpResponse::Ok().json(match style {
        Style::Plain => data,
        Style::V1 => wrapped("success", data),
    }))
}

fn parse(request: &HttpRequest, bytes: &[u8]) -> Result<Login, Failure> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    if kind.starts_with("application/x-www-form-urlencoded") {
        let text = std::str::from_utf8(bytes).map_err(|_not_utf8| {
            Failure::new(Kind::InvalidRequest, "the form is not valid UTF-8")
        })?;
        return web::Query::<Login>::from_query(text)
            .map(web::Query::into_inner)
            .map_err(|error| Failure::new(Kind::InvalidRequest, format!("the form: {error}")));
    }
    if kind.is_empty() || kind.starts_with("application/json") {
        return body::parse(bytes);
    }
    Err(Failure::new(
        Kind::UnsupportedMedia,
        "send application/json or application/x-www-form-urlencoded",
    ))
}

/// `GET /auth/verify`: flat in every style.
pub(crate) async fn verify(caller: Caller) -> HttpResponse {
    let Caller { id, name, email } = caller;
    let body: Value = json!({ "user_id": id, "name": name, "email": email });
    HttpResponse::Ok().json(body)
}
