//! The rows of a table as the protocol lists them.

use std::collections::BTreeMap;

use rmcp::{
    ErrorData,
    model::{JsonObject, Prompt, PromptArgument, Resource, ResourceTemplate, Tool},
};
use serde_json::json;

use crate::{
    backplane::{client::segment, host::Host, mcp::words::gone_wrong},
    contract::offers::{OfferedResource, OfferedTool, Offers},
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
};

/// What every resource of ours is.
pub(crate) const MIME: &str = "application/json";

/// The URI, or the URI template, of a path of a service.
#[must_use]
pub fn uri_of(service: &str, path: &str) -> String {
    format!("{service}://{path}")
}

/// Everything a table offers.
#[must_use]
pub fn all(host: &Host) -> Offers {
    let tools = tools(host).into_iter().zip(host.tools()).map(|(tool, row)| OfferedTool {
        tool,
        arguments: row.arguments.iter().map(|&name| name.to_owned()).collect(),
    });
    let resources = host.resources().iter().map(|row| OfferedResource {
        template: row.template.to_owned(),
        description: row.description.to_owned(),
    });
    Offers { tools: tools.collect(), resources: resources.collect(), prompts: prompts(host) }
}

/// The tools, in the table's order.
fn tools(host: &Host) -> Vec<Tool> {
    host.tools()
        .iter()
        .map(|row| {
            let tool = Tool::new(row.name, row.description, row.shape.input.clone())
                .with_annotations(row.shape.hints.clone());
            match &row.shape.output {
                Some(output) => tool.with_raw_output_schema(output.clone()),
                None => tool,
            }
        })
        .collect()
}

/// The resources that are read, not followed, with their variables.
#[must_use]
pub fn templates(offers: &Offers, service: &str) -> Vec<ResourceTemplate> {
    readable(offers)
        .filter(|row| row.template.contains('{'))
        .map(|row| {
            ResourceTemplate::new(uri_of(service, &row.template), row.template.as_str())
                .with_description(row.description.as_str())
                .with_mime_type(MIME)
        })
        .collect()
}

/// The resources without variables, and those whose only variable is the user, with `{user_id}`
/// still in them.
#[must_use]
pub fn personal(offers: &Offers, service: &str) -> Vec<Resource> {
    readable(offers)
        .filter(|row| !row.template.contains('{') || is_someones(&row.template))
        .map(|row| {
            let name = row.template.replace("{user_id}", "own");
            Resource::new(uri_of(service, &row.template), name)
                .with_description(row.description.as_str())
                .with_mime_type(MIME)
        })
        .collect()
}

/// The resources of a caller: of those that are someone's, their own.
#[must_use]
pub fn resources_of(caller: &Principal, personal: &[Resource]) -> Vec<Resource> {
    let user = caller.confined_to().map(segment);
    personal
        .iter()
        .filter_map(|resource| {
            if !resource.uri.contains("{user_id}") {
                return Some(resource.clone());
            }
            let mut own = resource.clone();
            own.uri = resource.uri.replace("{user_id}", user.as_deref()?);
            Some(own)
        })
        .collect()
}

fn is_someones(template: &str) -> bool {
    template.contains("{user_id}") && template.matches('{').count() == 1
}

fn readable(offers: &Offers) -> impl Iterator<Item = &OfferedResource> {
    offers.resources.iter().filter(|row| !row.template.ends_with("/stream"))
}

/// The prompts.
fn prompts(host: &Host) -> Vec<Prompt> {
    host.prompts()
        .iter()
        .map(|row| {
            let blanks = row.blanks.iter().map(|blank| {
                PromptArgument::new(blank.name)
                    .with_description(blank.description)
                    .with_required(blank.required)
            });
            Prompt::new(row.name, Some(row.description), Some(blanks.collect()))
        })
        .collect()
}

/// A prompt's arguments, which are texts; other values as they are written.
#[must_use]
pub fn texts(arguments: JsonObject) -> BTreeMap<String, String> {
    arguments
        .into_iter()
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name, text)
        })
        .collect()
}

/// Why a resource was not read; what is not there is named by its URI.
#[must_use]
pub fn not_read(failure: &Failure, uri: &str) -> ErrorData {
    let mut error = gone_wrong(failure);
    if failure.kind == Kind::NotFound {
        error.data = Some(json!({ "uri": uri }));
    }
    error
}
