//! How the gateway treats what is behind it.

use std::time::Duration;

use clap::Args;

use super::{duration, interval};

/// Whether clients see all tools, or look for those they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ToolSearch {
    /// All tools are listed.
    Off,
    /// Only `search_tools` and `call_tool` are listed.
    On,
    /// As `on` where there are more tools than `GATEWAY_TOOLS_LISTED_MAX`, else as `off`.
    Auto,
}

/// How the gateway treats what is behind it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Gateway")]
pub struct Gateway {
    /// Time a list waits for those that have not answered yet; who is missing is named (seconds).
    #[arg(long, env = "GATEWAY_LIST_DEADLINE", default_value = "2", value_parser = interval)]
    pub gateway_list_deadline: Duration,
    /// Time after which a source is asked anew what it offers (seconds).
    #[arg(long, env = "GATEWAY_LIST_FRESH", default_value = "30", value_parser = interval)]
    pub gateway_list_fresh: Duration,
    /// Time after which a source that did not answer is asked again (seconds).
    #[arg(long, env = "GATEWAY_LIST_PAUSE", default_value = "2", value_parser = interval)]
    pub gateway_list_pause: Duration,
    /// Changes within this time are told to clients as one (seconds).
    #[arg(long, env = "GATEWAY_CHANGES_PAUSE", default_value = "0.5", value_parser = duration)]
    pub gateway_changes_pause: Duration,
    /// Whether clients look for tools instead of getting all of them.
    #[arg(long, env = "GATEWAY_TOOL_SEARCH", default_value = "off")]
    pub gateway_tool_search: ToolSearch,
    /// Tools above which `GATEWAY_TOOL_SEARCH=auto` lists none (count).
    #[arg(long, env = "GATEWAY_TOOLS_LISTED_MAX", default_value_t = 200)]
    pub gateway_tools_listed_max: usize,
    /// Rounds of questions that one call may have (count).
    #[arg(long, env = "GATEWAY_ROUNDS_MAX", default_value_t = 10)]
    pub gateway_rounds_max: u32,
    /// Calls that wait for their client's answers at once (count).
    #[arg(long, env = "GATEWAY_PARKED_MAX", default_value_t = 256)]
    pub gateway_parked_max: usize,
    /// Time a client has to answer (seconds).
    #[arg(long, env = "GATEWAY_PARKED_TIMEOUT", default_value = "300", value_parser = interval)]
    pub gateway_parked_timeout: Duration,
    /// Time between two looks whether the file of upstreams has changed (seconds).
    #[arg(long, env = "UPSTREAMS_LOOK_INTERVAL", default_value = "2", value_parser = interval)]
    pub upstreams_look_interval: Duration,
}
