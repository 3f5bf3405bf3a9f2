//! Log lines: for people on a terminal, one JSON object a line with `LOG_FORMAT=json`; the request
//! id is in every line of a request.

use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde_json::json;

use crate::backplane::{clock, context};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One readable line.
    Human,
    /// One JSON object.
    Json,
}

impl Format {
    /// The word that names it as a setting.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Human => "human",
            Format::Json => "json",
        }
    }
}

/// Starts logging to standard error. `filter` has the syntax of `RUST_LOG`. A panic becomes a log
/// line too, so that JSON stays JSON.
pub fn start(format: Format, filter: &str, process: &'static str) {
    let mut builder = env_logger::Builder::new();
    // The protocol's library logs whole messages, and as errors that clients hang up. Whoever wants
    // that names it: `rmcp=debug`.
    builder.filter_module("rmcp", log::LevelFilter::Off);
    builder.parse_filters(filter);
    let colour = std::io::stderr().is_terminal();
    builder.format(move |out, record| {
        let request = context::current_id();
        match format {
            Format::Json => {
                let line = json!({
                    "timestamp": clock::now_rfc3339(),
                    "level": record.level().as_str(),
                    "service": process,
                    "component": record.target(),
                    "message": record.args().to_string(),
                    "request_id": request.as_deref(),
                });
                writeln!(out, "{line}")
            }
            Format::Human => {
                let level = record.level();
                let style = out.default_level_style(level);
                let (on, off) = if colour {
                    (style.render().to_string(), style.render_reset().to_string())
                } else {
                    (String::new(), String::new())
                };
                let id = request.map(|id| format!(" request={id}")).unwrap_or_default();
                let at = clock::now_rfc3339();
                writeln!(out, "{at} {on}{level:<5}{off} {process:<9} {}{id}", record.args())
            }
        }
    });
    if builder.try_init().is_err() {
        log::debug!("logging was started before");
    }
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = crate::backplane::keeper::panic_text(info.payload());
        log::error!("panic at={place} text={text:?}");
    }));
}
