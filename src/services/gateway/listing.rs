//! What one source offers at this moment.

use rmcp::model::{Prompt, Resource, ResourceTemplate, Tool};

use crate::{backplane::mcp::offers, contract::offers::Offers, domain::principal::Principal};

/// Everything one source offers one principal, under the source's own names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Tools.
    pub tools: Vec<Tool>,
    /// Resources.
    pub resources: Vec<Resource>,
    /// Families of resources.
    pub templates: Vec<ResourceTemplate>,
    /// Prompts.
    pub prompts: Vec<Prompt>,
}

impl Listing {
    /// What a service of ours offers `principal`.
    #[must_use]
    pub fn of_service(service: &str, offered: Offers, principal: &Principal) -> Self {
        Listing {
            resources: offers::resources(&offered, service, principal),
            templates: offers::templates(&offered, service),
            tools: offered.tools.into_iter().map(|offered| offered.tool).collect(),
            prompts: offered.prompts,
        }
    }
}
