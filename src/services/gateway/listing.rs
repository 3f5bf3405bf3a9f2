//! What one source offers at this moment.

use rmcp::model::{Prompt, Resource, ResourceTemplate, Tool};

use crate::{backplane::mcp::offers, contract::offers::Offers};

/// Everything one source offers, under the source's own names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Tools.
    pub tools: Vec<Tool>,
    /// Resources; of those whose URI has `{user_id}` in it, each user sees their own.
    pub resources: Vec<Resource>,
    /// Families of resources.
    pub templates: Vec<ResourceTemplate>,
    /// Prompts.
    pub prompts: Vec<Prompt>,
    /// Paths that can be followed, of our own services.
    pub live: Vec<String>,
}

impl Listing {
    /// What a service of ours offers.
    #[must_use]
    pub fn of_service(service: &str, offered: Offers) -> Self {
        let paths = offered.resources.iter().map(|row| row.template.clone());
        Listing {
            resources: offers::personal(&offered, service),
            templates: offers::templates(&offered, service),
            live: paths.filter(|path| path.ends_with("/stream")).collect(),
            tools: offered.tools.into_iter().map(|offered| offered.tool).collect(),
            prompts: offered.prompts,
        }
    }
}
