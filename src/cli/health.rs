//! `cortex health`: whether an endpoint says that it is well, for containers.

use std::time::Duration;

use clap::Args;

use super::{
    fetch::{Web, base_url},
    trouble::{Outcome, Trouble},
};

/// Time for the whole answer.
const HEALTH_DEADLINE: Duration = Duration::from_secs(5);

/// What `cortex health` takes.
#[derive(Args)]
pub struct HealthArgs {
    /// URL to ask, whole.
    #[arg(long, default_value = "http://127.0.0.1:8000/health", value_parser = base_url)]
    url: String,
}

/// Succeeds when the answer is 2xx.
pub(super) async fn run(args: HealthArgs) -> Outcome {
    let url = &args.url;
    let answer = Web::new().get(url, None, HEALTH_DEADLINE).await?;
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    let reasons = answer.json().ok().and_then(|health| {
        let reasons = health.get("reasons")?.as_array()?.clone();
        let reasons: Vec<&str> = reasons.iter().filter_map(serde_json::Value::as_str).collect();
        Some(format!(": {}", reasons.join("; ")))
    });
    Err(Trouble::plain(format!("{url} answered {}{}", answer.status, reasons.unwrap_or_default())))
}
