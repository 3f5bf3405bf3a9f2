//! Gets tokens as a server's challenges ask: authorization code with PKCE, nobody at the browser.

use std::collections::BTreeSet;

use rmcp::transport::auth::{AuthorizationRequest, OAuthState, WWWAuthenticateParams};

/// Where the browser would come back to.
const CALLBACK: &str = "http://localhost:3000/callback";
/// The document that describes this client to servers that read such.
const METADATA: &str = "https://conformance-test.local/client-metadata.json";

/// What the authorization server was told of this client beforehand.
pub(crate) struct Known {
    pub(crate) id: Option<String>,
    pub(crate) secret: Option<String>,
}

/// Gets tokens for one server.
pub(crate) struct Authorizer {
    url: String,
    known: Known,
    token: Option<String>,
    /// Every scope that was ever asked for: a step up must not lose what there was.
    scopes: BTreeSet<String>,
}

impl Authorizer {
    pub(crate) fn new(url: &str, known: Known) -> Self {
        Authorizer { url: url.to_owned(), known, token: None, scopes: BTreeSet::new() }
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Takes up a challenge: a token for what it asks, and what was asked before.
    pub(crate) async fn take_up(&mut self, status: u16, challenge: &str) -> Result<(), String> {
        let url = reqwest::Url::parse(&self.url).map_err(|error| error.to_string())?;
        let asked = WWWAuthenticateParams::parse(challenge, &url);
        if status == 403 && !asked.is_insufficient_scope() {
            return Err("the server refuses this client".to_owned());
        }
        let wrong = |error: rmcp::transport::AuthError| error.to_string();
        let mut state = OAuthState::new(self.url.as_str(), None).await.map_err(wrong)?;
        let mut request = AuthorizationRequest::new(CALLBACK)
            .with_client_name("cortex-conformance")
            .with_client_metadata_url(METADATA)
            .with_initial_scope_selection()
            .with_challenge(challenge);
        if let Some(id) = &self.known.id {
            request = request.with_preregistered_client(id);
            if let Some(secret) = &self.known.secret {
                request = request.with_client_secret(secret);
            }
        }
        if status == 403 {
            let more = asked.scope.unwrap_or_default();
            self.scopes.extend(more.split_whitespace().map(str::to_owned));
            request = request.with_scopes(self.scopes.iter().cloned());
        }
        state.start_authorization(request).await.map_err(wrong)?;
        let place = state.get_authorization_url().await.map_err(wrong)?;
        self.remember(&place);
        let back = visit(&place).await?;
        state.handle_callback_url(&back).await.map_err(wrong)?;
        let manager = state.into_authorization_manager().ok_or("no token came of it")?;
        self.token = Some(manager.get_access_token().await.map_err(wrong)?);
        Ok(())
    }

    fn remember(&mut self, place: &str) {
        let Ok(place) = reqwest::Url::parse(place) else { return };
        for (key, value) in place.query_pairs() {
            if key == "scope" {
                self.scopes.extend(value.split_whitespace().map(str::to_owned));
            }
        }
    }
}

/// What a browser would do, whose user agrees: where it is sent back to.
async fn visit(place: &str) -> Result<String, String> {
    let wrong = |error: reqwest::Error| error.to_string();
    let browser = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(wrong)?;
    let answer = browser.get(place).send().await.map_err(wrong)?;
    let back = answer.headers().get(reqwest::header::LOCATION);
    let back = back.and_then(|back| back.to_str().ok());
    back.map(str::to_owned).ok_or_else(|| "the authorization server sends nobody back".to_owned())
}
