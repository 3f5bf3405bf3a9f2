//! What a service offers: its tools, resources and prompts, as `GET /tools` lists them.

use rmcp::model::{Prompt, Tool};
use serde::{Deserialize, Serialize};

/// Everything a service offers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offers {
    /// What can be called.
    pub tools: Vec<OfferedTool>,
    /// What can be read.
    pub resources: Vec<OfferedResource>,
    /// What can be filled in.
    #[serde(default)]
    pub prompts: Vec<Prompt>,
}

/// A tool, as the Model Context Protocol has it, and the names of its arguments as the first
/// clients read them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfferedTool {
    /// The tool.
    #[serde(flatten)]
    pub tool: Tool,
    /// The names of its arguments.
    #[serde(default)]
    pub arguments: Vec<String>,
}

/// A resource, or a family of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedResource {
    /// Its path with variables in braces.
    pub template: String,
    /// What it is.
    pub description: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn offers_speak_to_the_first_clients_and_to_the_protocols() {
        let golden = json!({
            "tools": [{
                "name": "get_item", "description": "Answers an item.",
                "inputSchema": {"type": "object"}, "arguments": ["user_id", "item_id"],
            }],
            "resources": [{"template": "item/{item_id}", "description": "One item."}],
            "prompts": [],
        });
        let offers: Offers = serde_json::from_value(golden.clone()).unwrap();
        assert_eq!(serde_json::to_value(&offers).unwrap(), golden);
        let old = json!({"tools": [], "resources": []});
        assert_eq!(serde_json::from_value::<Offers>(old).unwrap(), Offers::default());
    }
}
