//! The table of a service's tools and resources: one table feeds every door to them.

use std::{collections::BTreeMap, pin::Pin, rc::Rc};

use bytes::Bytes;
use futures_util::{Stream, future::LocalBoxFuture};
use serde_json::{Map, Value};

use rmcp::model::GetPromptResult;

use crate::{
    backplane::shape::Shape,
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
};

/// The answer to a tool call, on its way.
pub type ToolAnswer = LocalBoxFuture<'static, Result<Value, Failure>>;
/// The content of a resource, on its way.
pub type ResourceAnswer = LocalBoxFuture<'static, Result<Content, Failure>>;
/// A prompt filled in, on its way.
pub type PromptAnswer = LocalBoxFuture<'static, Result<GetPromptResult, Failure>>;
/// What may be meant, on its way.
pub type Completions = LocalBoxFuture<'static, Result<Vec<String>, Failure>>;
/// A live answer's body.
pub type LiveBody = Pin<Box<dyn Stream<Item = Result<Bytes, std::convert::Infallible>>>>;

/// What a resource holds.
pub enum Content {
    /// A finite list.
    Items(Vec<Value>),
    /// Server-sent events without end.
    Live(LiveBody),
}

/// What was asked of a resource.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The values of the template's variables, decoded.
    pub vars: BTreeMap<&'static str, String>,
    /// The query parameters.
    pub query: BTreeMap<String, String>,
    /// The last event the reader saw, if it says so.
    pub last_event_id: Option<i64>,
}

impl Asked {
    /// The value of a template's variable.
    #[must_use]
    pub fn var(&self, name: &str) -> &str {
        self.vars.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A query parameter as an integer.
    ///
    /// # Errors
    /// `invalid_parameter` when it is there and no integer.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Failure> {
        self.query.get(name).map(|text| integer(name, text)).transpose()
    }
}

/// Reads an integer parameter.
///
/// # Errors
/// `invalid_parameter` naming it.
pub fn integer(name: &str, text: &str) -> Result<i64, Failure> {
    text.trim().parse().map_err(|_no_integer| {
        Failure::new(Kind::InvalidParameter, format!("{name} must be an integer, not {text:?}"))
    })
}

/// One tool.
#[derive(Clone)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// One sentence for the model that picks it.
    pub description: &'static str,
    /// The names of its arguments.
    pub arguments: &'static [&'static str],
    /// What they are, and what it answers.
    pub shape: Shape,
    run: Rc<dyn Fn(Principal, Map<String, Value>) -> ToolAnswer>,
}

/// One argument of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blank {
    /// Its name.
    pub name: &'static str,
    /// What belongs there.
    pub description: &'static str,
    /// Whether it must be filled in.
    pub required: bool,
}

/// One prompt: words to a model, with blanks to fill in.
#[derive(Clone)]
pub struct Prompt {
    /// Its name.
    pub name: &'static str,
    /// One sentence for the person who picks it.
    pub description: &'static str,
    /// What is to be filled in.
    pub blanks: &'static [Blank],
    run: Rc<dyn Fn(Principal, BTreeMap<String, String>) -> PromptAnswer>,
}

/// A value that is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// Of which argument or variable.
    pub argument: String,
    /// What there is of it.
    pub beginning: String,
}

/// One resource, or a family of them.
#[derive(Clone)]
pub struct Resource {
    /// Its path with variables in braces: `history/{user_id}/limit/{n}`.
    pub template: &'static str,
    /// One sentence for the model that picks it.
    pub description: &'static str,
    run: Rc<dyn Fn(Principal, Asked) -> ResourceAnswer>,
}

/// A service's tools and resources.
#[derive(Clone, Default)]
pub struct Host {
    tools: Vec<Tool>,
    resources: Vec<Resource>,
    prompts: Vec<Prompt>,
    completing: Option<Rc<dyn Fn(Principal, Typed) -> Completions>>,
}

impl Host {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Host::default()
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(
        mut self,
        name: &'static str,
        description: &'static str,
        arguments: &'static [&'static str],
        run: impl Fn(Principal, Map<String, Value>) -> ToolAnswer + 'static,
    ) -> Self {
        let shape = Shape::default();
        self.tools.push(Tool { name, description, arguments, shape, run: Rc::new(run) });
        self
    }

    /// Says what a tool that is there takes and answers.
    #[must_use]
    pub fn shaped(mut self, tool: &str, shape: Shape) -> Self {
        if let Some(known) = self.tools.iter_mut().find(|known| known.name == tool) {
            known.shape = shape;
        }
        self
    }

    /// Adds a prompt.
    #[must_use]
    pub fn prompt(
        mut self,
        name: &'static str,
        description: &'static str,
        blanks: &'static [Blank],
        run: impl Fn(Principal, BTreeMap<String, String>) -> PromptAnswer + 'static,
    ) -> Self {
        self.prompts.push(Prompt { name, description, blanks, run: Rc::new(run) });
        self
    }

    /// Says how values that are being typed are completed.
    #[must_use]
    pub fn completing(mut self, run: impl Fn(Principal, Typed) -> Completions + 'static) -> Self {
        self.completing = Some(Rc::new(run));
        self
    }

    /// Adds a resource. The first template that matches is taken.
    #[must_use]
    pub fn resource(
        mut self,
        template: &'static str,
        description: &'static str,
        run: impl Fn(Principal, Asked) -> ResourceAnswer + 'static,
    ) -> Self {
        self.resources.push(Resource { template, description, run: Rc::new(run) });
        self
    }

    /// All tools.
    #[must_use]
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// All resources.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// All prompts.
    #[must_use]
    pub fn prompts(&self) -> &[Prompt] {
        &self.prompts
    }

    /// Fills in a prompt.
    ///
    /// # Errors
    /// `invalid_parameter` when there is no such prompt, `validation_error` naming what is missing
    /// or not asked for, or the prompt's own failure.
    pub async fn fill_in(
        &self,
        prompt: &str,
        caller: Principal,
        arguments: BTreeMap<String, String>,
    ) -> Result<GetPromptResult, Failure> {
        let known = self.prompts.iter().find(|known| known.name == prompt).ok_or_else(|| {
            Failure::new(Kind::InvalidParameter, format!("there is no prompt {prompt:?} here"))
        })?;
        for blank in known.blanks {
            if blank.required && arguments.get(blank.name).is_none_or(|text| text.trim().is_empty())
            {
                return Err(Failure::invalid_field(blank.name, "field required", "missing"));
            }
        }
        (known.run)(caller, arguments).await
    }

    /// What a value that is being typed may become: best first, none where nothing is known.
    ///
    /// # Errors
    /// Why it could not be looked up.
    pub async fn complete(&self, caller: Principal, typed: Typed) -> Result<Vec<String>, Failure> {
        match &self.completing {
            Some(completing) => completing(caller, typed).await,
            None => Ok(Vec::new()),
        }
    }

    /// Whether `arguments` is wrapped: an object of that name which is no argument of the tool.
    #[must_use]
    pub fn is_wrapped(&self, tool: &str, body: &Map<String, Value>) -> bool {
        let Some(tool) = self.tools.iter().find(|known| known.name == tool) else {
            return false;
        };
        body.get("arguments").is_some_and(Value::is_object)
            && !body.keys().any(|key| tool.arguments.contains(&key.as_str()))
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// `tool_not_found`, or the tool's own failure.
    pub async fn call(
        &self,
        tool: &str,
        caller: Principal,
        arguments: Map<String, Value>,
    ) -> Result<Value, Failure> {
        let known = self.tools.iter().find(|known| known.name == tool).ok_or_else(|| {
            Failure::new(Kind::ToolNotFound, format!("there is no tool {tool:?} here"))
        })?;
        (known.run)(caller, arguments).await
    }

    /// Whether a raw path is of a live resource: those, and no others, end in `/stream`.
    #[must_use]
    pub fn is_stream(&self, path: &str) -> bool {
        let Ok(segments) = decode(path) else { return false };
        let found = |one: &&Resource| match_template(one.template, &segments).is_some();
        self.resources.iter().find(found).is_some_and(|one| one.template.ends_with("/stream"))
    }

    /// Reads a resource by its raw path (segments still percent-encoded).
    ///
    /// # Errors
    /// `resource_not_found`, `invalid_request` for a path that is not UTF-8, or its own failure.
    pub async fn read(
        &self,
        path: &str,
        caller: Principal,
        mut asked: Asked,
    ) -> Result<Content, Failure> {
        let segments = decode(path)?;
        for resource in &self.resources {
            if let Some(vars) = match_template(resource.template, &segments) {
                asked.vars = vars;
                return (resource.run)(caller, asked).await;
            }
        }
        Err(Failure::not_found("resource", segments.join("/")))
    }
}

fn decode(path: &str) -> Result<Vec<String>, Failure> {
    path.trim_matches('/')
        .split('/')
        .map(|segment| {
            percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
                .map_err(|_not_utf8| {
                    Failure::new(Kind::InvalidRequest, "the path is not valid UTF-8")
                })
        })
        .collect()
}

/// The variables of `template` in `segments`, or `None` when it does not fit.
fn match_template(
    template: &'static str,
    segments: &[String],
) -> Option<BTreeMap<&'static str, String>> {
    let mut vars = BTreeMap::new();
    let mut rest = segments.iter();
    for part in template.split('/') {
        let segment = rest.next().filter(|segment| !segment.is_empty())?;
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => {
                vars.insert(name, segment.clone());
            }
            None if part == segment => {}
            None => return None,
        }
    }
    rest.next().is_none().then_some(vars)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn host() -> Host {
        Host::new()
            .tool("echo", "Answers its arguments.", &["text"], |_, arguments| {
                Box::pin(async move { Ok(Value::Object(arguments)) })
            })
            .resource("a/{x}/b", "One.", |_, asked| {
                Box::pin(async move { Ok(Content::Items(vec![json!(asked.var("x"))])) })
            })
    }

    async fn read(path: &str) -> Result<Value, Kind> {
        let caller = Principal::Service { name: "t".into() };
        match host().read(path, caller, Asked::default()).await {
            Ok(Content::Items(items)) => Ok(Value::Array(items)),
            Ok(Content::Live(_)) => panic!("not in this table"),
            Err(failure) => Err(failure.kind),
        }
    }

    #[actix::test]
    async fn variables_are_decoded_after_the_path_is_split() {
        assert_eq!(read("a/1/b").await, Ok(json!(["1"])));
        assert_eq!(read("/a/x%2Fy%20z/b/").await, Ok(json!(["x/y z"])));
        for wrong in ["a/1", "a/1/c", "a/1/b/2", "a//b", ""] {
            assert_eq!(read(wrong).await, Err(Kind::NotFound), "{wrong}");
        }
        assert_eq!(read("a/%ff/b").await, Err(Kind::InvalidRequest));
    }

    #[test]
    fn an_arguments_object_is_a_wrapper_unless_the_tool_has_such_an_argument() {
        let wrapped = |body: Value| host().is_wrapped("echo", body.as_object().unwrap());
        assert!(wrapped(json!({"arguments": {"text": "a"}})));
        assert!(wrapped(json!({"arguments": {}, "id": 1})));
        assert!(!wrapped(json!({"text": "a"})));
        assert!(!wrapped(json!({"arguments": {}, "text": "a"})));
        assert!(!wrapped(json!({"arguments": "a"})));
    }
}
