//! Where a service is: as told, as core knows it, or where it usually listens.

use clap::Args;
use serde_json::Value;

use super::{
    fetch::{ANSWER_DEADLINE, Web, base_url},
    session::Session,
    trouble::{Outcome, Trouble},
};

/// Where core listens unless told otherwise.
pub(super) const CORE_URL: &str = "http://127.0.0.1:8000";

/// How the service is found.
#[derive(Args, Clone)]
#[command(next_help_heading = "Where the service is")]
pub(super) struct Place {
    /// URL of the service [default: MEMORY_SERVICE_URL or COGNITION_SERVICE_URL, else what core
    /// knows, else port 9000 or 9100 of this machine].
    #[arg(long, value_parser = base_url)]
    url: Option<String>,
    /// URL of core, which is asked where services are.
    #[arg(long, default_value = CORE_URL, value_parser = base_url)]
    core: String,
    #[arg(long, env = "MEMORY_SERVICE_URL", hide = true)]
    memory_service_url: Option<String>,
    #[arg(long, env = "COGNITION_SERVICE_URL", hide = true)]
    cognition_service_url: Option<String>,
}

impl Place {
    /// Where the core at this URL says that services are.
    pub(super) fn at_core(core: &str) -> Self {
        let core = core.to_owned();
        Place { url: None, core, memory_service_url: None, cognition_service_url: None }
    }

    /// The base URL of `service`.
    pub(super) async fn of(&self, service: &str, web: &Web, session: &Session) -> Outcome<String> {
        if let Some(url) = self.told(service)? {
            return Ok(url);
        }
        let core = &self.core;
        let why = match self.ask_core(service, web, session).await {
            Ok(Some(url)) => return Ok(url),
            Ok(None) => format!("core at {core} knows no service {service:?}"),
            Err(Trouble::Unreachable { cause, .. }) => {
                format!("core at {core} cannot be asked where {service:?} is: {cause}")
            }
            Err(trouble) => {
                return Err(Trouble::plain(format!(
                    "core at {core} does not say where {service:?} is: {trouble}; --url names its \
                     place"
                )));
            }
        };
        match usual(service) {
            Some(url) => Ok(url.to_owned()),
            None => Err(Trouble::plain(format!("{why}; name its place with --url"))),
        }
    }

    /// What the command line or the environment says.
    fn told(&self, service: &str) -> Outcome<Option<String>> {
        if self.url.is_some() {
            return Ok(self.url.clone());
        }
        let (name, list) = match service {
            "memory" => ("MEMORY_SERVICE_URL", &self.memory_service_url),
            "cognition" => ("COGNITION_SERVICE_URL", &self.cognition_service_url),
            _ => return Ok(None),
        };
        let first = list
            .as_deref()
            .and_then(|list| list.split(',').map(str::trim).find(|url| !url.is_empty()));
        let checked = first.map(base_url).transpose();
        checked.map_err(|error| Trouble::plain(format!("{name}: {error}")))
    }

    async fn ask_core(
        &self,
        service: &str,
        web: &Web,
        session: &Session,
    ) -> Outcome<Option<String>> {
        let token = session.service("core")?.token()?;
        let url = format!("{}/services", self.core);
        let known = web.get(&url, Some(&token), ANSWER_DEADLINE).await?.success()?;
        Ok(known_place(&known, service))
    }
}

/// The endpoint in core's answer, which names a healthy one first.
fn known_place(answer: &Value, service: &str) -> Option<String> {
    let url = answer.get("services")?.get(service)?.get("endpoint")?.as_str()?;
    base_url(url).ok()
}

fn usual(service: &str) -> Option<&'static str> {
    match service {
        "core" => Some(CORE_URL),
        "memory" => Some("http://127.0.0.1:9000"),
        "cognition" => Some("http://127.0.0.1:9100"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(url: Option<&str>, memory: Option<&str>, service: &str) -> Option<String> {
        let place = Place {
            url: url.map(str::to_owned),
            core: CORE_URL.to_owned(),
            memory_service_url: memory.map(str::to_owned),
            cognition_service_url: None,
        };
        place.told(service).unwrap()
    }

    #[test]
    fn the_option_goes_before_the_variable_and_a_variable_is_for_its_service_only() {
        let list = Some(" http://a:1/ , http://b:2");
        assert_eq!(told(Some("http://x"), list, "memory").as_deref(), Some("http://x"));
        assert_eq!(told(None, list, "memory").as_deref(), Some("http://a:1"));
        assert_eq!(told(None, list, "cognition"), None);
        assert_eq!(told(None, list, "billing"), None);
        assert_eq!(told(None, Some(""), "memory"), None);
    }

    #[test]
    fn core_is_believed_and_usual_places_are_known_for_our_own_services() {
        let answer = json!({"services": {"billing": {"endpoint": "http://b:7", "endpoints": []}}});
        assert_eq!(known_place(&answer, "billing").as_deref(), Some("http://b:7"));
        assert_eq!(known_place(&answer, "memory"), None);
        assert_eq!(usual("memory"), Some("http://127.0.0.1:9000"));
        assert_eq!(usual("billing"), None);
    }
}
