//! What all sources offer together, under names that are the gateway's.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use rmcp::model::{Prompt, Resource, ResourceTemplate, Tool};

use super::{listing::Listing, search};
use crate::{
    backplane::mcp::offers::resources_of,
    domain::{
        gateway::{
            access::{Rules, name_of},
            names::{Offer, named},
            uris::{expands, scheme},
        },
        principal::Principal,
        retrieval::Index,
    },
};

/// One source's part of the catalogue.
#[derive(Clone, Debug)]
pub struct Part {
    /// The source's name.
    pub source: Arc<str>,
    /// What is set before the names of its tools and prompts; may be empty.
    pub prefix: Arc<str>,
    /// What it offers.
    pub listing: Arc<Listing>,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The source.
    pub source: Arc<str>,
    /// What the source calls it.
    pub name: String,
}

/// The catalogue as one principal sees it. Lists are in the order of the names shown.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Tools, renamed.
    pub tools: Vec<Tool>,
    /// Prompts, renamed.
    pub prompts: Vec<Prompt>,
    /// Resources.
    pub resources: Vec<Resource>,
    /// Families of resources.
    pub templates: Vec<ResourceTemplate>,
    tools_of: BTreeMap<String, Whose>,
    prompts_of: BTreeMap<String, Whose>,
    resources_of: BTreeMap<String, Arc<str>>,
    templates_of: Vec<(String, Arc<str>)>,
    schemes: BTreeMap<String, Option<Arc<str>>>,
    index: Arc<OnceLock<Index>>,
    rules: Rules,
    principal: String,
}

impl Catalogue {
    /// Of these parts, what `principal` may see. Names are given before anything is left out, so
    /// that they are the same for everyone. The URIs of `ours`, our own services, are theirs
    /// alone.
    #[must_use]
    pub fn of(parts: &[Part], rules: &Rules, principal: &Principal, ours: &[String]) -> Self {
        let mut catalogue = Catalogue {
            rules: rules.clone(),
            principal: name_of(principal),
            ..Catalogue::default()
        };
        catalogue.add_tools(parts);
        catalogue.add_prompts(parts);
        for part in parts {
            let resources = resources_of(principal, &part.listing.resources);
            let theirs = |uri: &str| {
                let own =
                    |scheme| part.source.as_ref() == scheme || !ours.iter().any(|s| s == scheme);
                scheme(uri).is_none_or(own)
            };
            catalogue.add_resources(part, &resources, &theirs);
        }
        catalogue.resources.sort_by(|a, b| a.uri.cmp(&b.uri));
        catalogue.templates.sort_by(|a, b| a.uri_template.cmp(&b.uri_template));
        catalogue
    }

    fn add_tools(&mut self, parts: &[Part]) {
        let all: Vec<(&Part, &Tool)> = parts
            .iter()
            .flat_map(|part| part.listing.tools.iter().map(move |t| (part, t)))
            .collect();
        let offers: Vec<Offer<'_>> =
            all.iter().map(|(part, tool)| offer(part, tool.name.as_ref())).collect();
        for (shown, at) in named(&offers) {
            let Some((part, tool)) = all.get(at) else { continue };
            if self.may_use(&part.source, &tool.name) {
                let whose = Whose { source: part.source.clone(), name: tool.name.to_string() };
                let mut tool = (*tool).clone();
                tool.name = shown.clone().into();
                self.tools.push(tool);
                self.tools_of.insert(shown, whose);
            }
        }
    }

    fn add_prompts(&mut self, parts: &[Part]) {
        let all: Vec<(&Part, &Prompt)> = parts
            .iter()
            .flat_map(|part| part.listing.prompts.iter().map(move |prompt| (part, prompt)))
            .collect();
        let offers: Vec<Offer<'_>> =
            all.iter().map(|(part, prompt)| offer(part, &prompt.name)).collect();
        for (shown, at) in named(&offers) {
            let Some((part, prompt)) = all.get(at) else { continue };
            if self.may_use(&part.source, &prompt.name) {
                let whose = Whose { source: part.source.clone(), name: prompt.name.clone() };
                let mut prompt = (*prompt).clone();
                prompt.name.clone_from(&shown);
                self.prompts.push(prompt);
                self.prompts_of.insert(shown, whose);
            }
        }
    }

    /// A URI belongs to the first source that lists it.
    fn add_resources(
        &mut self,
        part: &Part,
        resources: &[Resource],
        theirs: &dyn Fn(&str) -> bool,
    ) {
        let resources = resources.iter().filter(|resource| theirs(&resource.uri));
        let templates = part.listing.templates.iter().filter(|known| theirs(&known.uri_template));
        let uris = resources.clone().map(|resource| resource.uri.as_str());
        for uri in uris.chain(templates.clone().map(|template| &*template.uri_template)) {
            let Some(scheme) = scheme(uri) else { continue };
            let owner =
                self.schemes.entry(scheme.to_owned()).or_insert_with(|| Some(part.source.clone()));
            if owner.as_ref().is_some_and(|owner| *owner != part.source) {
                *owner = None;
            }
        }
        for resource in resources {
            if self.may_use(&part.source, &resource.uri)
                && !self.resources_of.contains_key(&resource.uri)
            {
                self.resources_of.insert(resource.uri.clone(), part.source.clone());
                self.resources.push(resource.clone());
            }
        }
        for template in templates {
            let uri = &template.uri_template;
            if self.may_use(&part.source, uri)
                && !self.templates_of.iter().any(|(known, _)| known == uri)
            {
                self.templates_of.push((uri.clone(), part.source.clone()));
                self.templates.push(template.clone());
            }
        }
    }

    fn may_use(&self, source: &str, thing: &str) -> bool {
        self.rules.allow(&self.principal, source, thing)
    }

    /// The tools as they are looked for; made when somebody first looks.
    #[must_use]
    pub fn index(&self) -> &Index {
        self.index.get_or_init(|| search::index(&self.tools))
    }

    /// Whose a tool is.
    #[must_use]
    pub fn tool(&self, shown: &str) -> Option<&Whose> {
        self.tools_of.get(shown)
    }

    /// Whose a prompt is.
    #[must_use]
    pub fn prompt(&self, shown: &str) -> Option<&Whose> {
        self.prompts_of.get(shown)
    }

    /// Whose a resource is: it is listed, or an expansion of a template that is, or of a scheme
    /// that only one source uses; and its own URI may be used.
    #[must_use]
    pub fn resource(&self, uri: &str) -> Option<&Arc<str>> {
        let source = self
            .resources_of
            .get(uri)
            .or_else(|| {
                let known = self.templates_of.iter().find(|(template, _)| expands(template, uri));
                known.map(|(_, source)| source)
            })
            .or_else(|| self.schemes.get(scheme(uri)?)?.as_ref())?;
        self.may_use(source, uri).then_some(source)
    }

    /// Whose a template is.
    #[must_use]
    pub fn template(&self, template: &str) -> Option<&Arc<str>> {
        let known = self.templates_of.iter().find(|(known, _)| known == template);
        known.map(|(_, source)| source).or_else(|| self.resource(template))
    }
}

fn offer<'a>(part: &'a Part, name: &'a str) -> Offer<'a> {
    Offer { upstream: &part.source, prefix: &part.prefix, name }
}

/// Whether two catalogues would be made of the same parts.
pub(super) fn are_same(some: &[Part], others: &[Part]) -> bool {
    some.len() == others.len()
        && some.iter().zip(others).all(|(one, other)| {
            one.source == other.source
                && one.prefix == other.prefix
                && Arc::ptr_eq(&one.listing, &other.listing)
        })
}

#[cfg(test)]
mod tests {
    use rmcp::model::JsonObject;

    use super::*;
    use crate::domain::gateway::access::Rule;

    fn part(source: &str, tools: &[&str], uris: &[&str], templates: &[&str]) -> Part {
        let listing = Listing {
            tools: tools
                .iter()
                .map(|&name| Tool::new(name.to_owned(), "x", JsonObject::new()))
                .collect(),
            resources: uris.iter().map(|uri| Resource::new(*uri, *uri)).collect(),
            templates: templates.iter().map(|uri| ResourceTemplate::new(*uri, *uri)).collect(),
            prompts: vec![Prompt::new("greet", Some("x"), None)],
            live: vec![],
        };
        Part { source: source.into(), prefix: source.into(), listing: Arc::new(listing) }
    }

    fn catalogue(rules: &Rules) -> Catalogue {
        let parts = [
            part("files", &["read", "write"], &["file:///a"], &["file:///{+path}"]),
            part("web", &["read"], &["https://x/a", "file:///a"], &["https://x/{id}"]),
        ];
        let ann = Principal::User { id: "ann".into(), name: String::new(), email: String::new() };
        Catalogue::of(&parts, rules, &ann, &["memory".to_owned()])
    }

    #[test]
    fn everything_has_a_name_that_leads_back() {
        let all = catalogue(&Rules::default());
        let names: Vec<&str> = all.tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(names, ["files__read", "files__write", "web__read"]);
        let whose = all.tool("web__read").unwrap();
        assert_eq!((whose.source.as_ref(), whose.name.as_str()), ("web", "read"));
        assert_eq!(all.prompt("files__greet").unwrap().name, "greet");
        assert_eq!(all.tool("read"), None);
    }

    #[test]
    fn a_resource_belongs_to_who_lists_it_first() {
        let all = catalogue(&Rules::default());
        let of = |uri: &str| all.resource(uri).map(|source| source.to_string());
        assert_eq!(of("file:///a").as_deref(), Some("files"));
        assert_eq!(of("file:///deep/er").as_deref(), Some("files"));
        assert_eq!(of("https://x/7").as_deref(), Some("web"));
        assert_eq!(
            of("https://elsewhere/7/8").as_deref(),
            Some("web"),
            "the only one of its scheme"
        );
        assert_eq!(of("gopher://x"), None);
        assert_eq!(all.resources.len(), 2);
    }

    #[test]
    fn what_may_not_be_used_is_not_there_and_changes_no_name() {
        let one = |text: &str| vec![text.to_owned()];
        let rule = |upstream: &str, thing: &str, allows: bool| Rule {
            principals: one("ann"),
            upstreams: one(upstream),
            things: one(thing),
            allows,
        };
        let rules = Rules(vec![rule("files", "write", false), rule("files", "*", true)]);
        let some = catalogue(&rules);
        let names: Vec<&str> = some.tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(names, ["files__read"]);
        assert_eq!(some.tool("files__write"), None);
        assert!(some.resources.iter().all(|resource| resource.uri == "file:///a"));
    }

    #[test]
    fn a_resource_that_may_not_be_read_is_not_found_by_its_template_either() {
        let rule = |thing: &str, allows: bool| Rule {
            principals: vec!["*".to_owned()],
            upstreams: vec!["*".to_owned()],
            things: vec![thing.to_owned()],
            allows,
        };
        let some = catalogue(&Rules(vec![rule("file:///secret*", false), rule("*", true)]));
        assert_eq!(some.resource("file:///secret/a"), None);
        assert!(some.resource("file:///open/a").is_some());
    }

    #[test]
    fn the_uris_of_our_services_are_theirs_alone() {
        let parts = [
            part("liar", &[], &["memory://history/ann"], &["memory://history/{id}"]),
            part("memory", &[], &["memory://own"], &["memory://history/{user_id}"]),
        ];
        let ann = Principal::User { id: "ann".into(), name: String::new(), email: String::new() };
        let ours = ["memory".to_owned()];
        let all = Catalogue::of(&parts, &Rules::default(), &ann, &ours);
        assert_eq!(all.resources.len(), 1);
        assert_eq!(all.resource("memory://history/ann").map(AsRef::as_ref), Some("memory"));
        let alone = Catalogue::of(&parts[..1], &Rules::default(), &ann, &ours);
        assert_eq!(alone.resource("memory://history/ann"), None, "also while memory is away");
    }
}
