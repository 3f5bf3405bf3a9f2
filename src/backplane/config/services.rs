//! Which services there are, and how their health is checked.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::interval;

/// Which services there are, and how their health is checked.
#[derive(Args, Clone)]
#[command(next_help_heading = "Discovery")]
pub struct Services {
    /// Where memory is: one URL; several, separated by commas, only for replicas of one store.
    #[arg(long, env = "MEMORY_SERVICE_URL", default_value = "http://127.0.0.1:9000")]
    pub memory_service_url: String,
    /// Where cognition is: one URL, or several separated by commas.
    #[arg(long, env = "COGNITION_SERVICE_URL", default_value = "http://127.0.0.1:9100")]
    pub cognition_service_url: String,
    /// YAML file with further services (path).
    #[arg(long, env = "SERVICE_DISCOVERY_CONFIG")]
    pub service_discovery_config: Option<PathBuf>,
    /// Time between health checks of an endpoint (seconds).
    #[arg(long, env = "SERVICE_DISCOVERY_HEALTH_CHECK_INTERVAL", default_value = "30", value_parser = interval)]
    pub health_check_interval: Duration,
    /// Time one health check may take (seconds).
    #[arg(long, env = "SERVICE_DISCOVERY_HEALTH_CHECK_TIMEOUT", default_value = "5", value_parser = interval)]
    pub health_check_timeout: Duration,
    /// Time between health checks while an endpoint is in doubt or its breaker open (seconds).
    #[arg(long, env = "SERVICE_DISCOVERY_PROBE_INTERVAL", default_value = "1", value_parser = interval)]
    pub probe_interval: Duration,
    /// Key that lets `X-API-Key` register services; without it only service tokens may (text).
    #[arg(long, env = "SERVICE_DISCOVERY_API_KEY", hide_env_values = true)]
    pub service_discovery_api_key: Option<String>,
    /// Further services from variables `SERVICE_NAME=url` (filled from the environment).
    #[arg(skip)]
    pub prefixed: Vec<(String, String)>,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services")
            .field("memory_service_url", &self.memory_service_url)
            .field("cognition_service_url", &self.cognition_service_url)
            .field("service_discovery_config", &self.service_discovery_config)
            .finish_non_exhaustive()
    }
}

/// The names and URLs among `variables` of the form `SERVICE_NAME=url`; `SERVICE_DISCOVERY_*` are
/// settings, not services.
pub fn prefixed_services(
    variables: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = variables
        .filter(|(name, value)| !name.starts_with("SERVICE_DISCOVERY_") && value.contains("://"))
        .filter_map(|(name, value)| {
            let service = name.strip_prefix("SERVICE_")?.to_lowercase();
            (!service.is_empty()).then_some((service, value))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixed_variables_are_services_but_discoverys_own_are_not() {
        let variables = [
            ("SERVICE_BILLING", "http://b"),
            ("SERVICE_DISCOVERY_CONFIG", "http://no"),
            ("SERVICE_", "http://no"),
            ("SERVICE_LEVEL", "gold"),
            ("OTHER", "http://no"),
        ];
        let owned = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        assert_eq!(prefixed_services(owned), [("billing".to_owned(), "http://b".to_owned())]);
    }
}
