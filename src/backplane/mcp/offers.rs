//! The rows of a table as the protocol lists them.

use std::collections::BTreeMap;

use rmcp::{
    ErrorData,
    model::{JsonObject, Prompt, PromptArgument, Resource, ResourceTemplate, Tool},
};
use serde_json::json;

use crate::{
    backplane::{host::Host, mcp::words::gone_wrong},
    contract::offers::{OfferedResource, OfferedTool, Offers},
    domain::failure::{Failure, Kind},
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
#[must_use]
pub fn tools(host: &Host) -> Vec<Tool> {
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
pub fn templates(host: &Host, service: &str) -> Vec<ResourceTemplate> {
    readable(host)
        .filter(|(template, _)| template.contains('{'))
        .map(|(template, about)| {
            ResourceTemplate::new(uri_of(service, template), template)
                .with_description(about)
                .with_mime_type(MIME)
        })
        .collect()
}

/// The resources without variables.
#[must_use]
pub fn resources(host: &Host, service: &str) -> Vec<Resource> {
    readable(host)
        .filter(|(template, _)| !template.contains('{'))
        .map(|(template, about)| {
            Resource::new(uri_of(service, template), template)
                .with_description(about)
                .with_mime_type(MIME)
        })
        .collect()
}

/// The templates whose only variable is the user.
#[must_use]
pub fn own(host: &Host, service: &str) -> Vec<ResourceTemplate> {
    let mut templates = templates(host, service);
    templates.retain(|template| {
        let variables = template.uri_template.matches('{').count();
        variables == 1 && template.uri_template.contains("{user_id}")
    });
    templates
}

fn readable(host: &Host) -> impl Iterator<Item = (&'static str, &'static str)> {
    host.resources()
        .iter()
        .map(|row| (row.template, row.description))
        .filter(|(template, _)| !template.ends_with("/stream"))
}

/// The prompts.
#[must_use]
pub fn prompts(host: &Host) -> Vec<Prompt> {
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
