//! Lists of what an upstream offers: all pages, within bounds.

use std::{borrow::Cow, collections::HashSet, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{call::Missed, headers};
use crate::{contract::upstream::Limits, domain::backoff::Repeatable};

/// Pages of one list; more are not asked for.
const PAGES_MAX: usize = 1000;

/// What an upstream offers, in one of its lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `tools/list`.
    Tools,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
    /// `prompts/list`.
    Prompts,
}

impl Kind {
    pub(super) fn method(self) -> &'static str {
        match self {
            Kind::Tools => "tools/list",
            Kind::Resources => "resources/list",
            Kind::Templates => "resources/templates/list",
            Kind::Prompts => "prompts/list",
        }
    }

    pub(super) fn capability(self) -> &'static str {
        match self {
            Kind::Tools => "tools",
            Kind::Resources | Kind::Templates => "resources",
            Kind::Prompts => "prompts",
        }
    }

    /// What an entry of the list is known by.
    fn key(self) -> &'static str {
        match self {
            Kind::Tools | Kind::Prompts => "name",
            Kind::Resources => "uri",
            Kind::Templates => "uriTemplate",
        }
    }
}

/// A list, as whole as its bounds allow.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The entries, as they came.
    pub items: Vec<Map<String, Value>>,
    /// Why it is not whole, if it is not.
    pub cut: Option<&'static str>,
    /// How long it is good for (`ttlMs`), the shortest of its pages.
    pub ttl: Option<Duration>,
    /// Whether it is for this caller only (`cacheScope` is not `public`).
    pub private: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow, default)]
    tools: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    resources: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    resource_templates: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    prompts: Vec<&'a RawValue>,
    next_cursor: Option<String>,
    ttl_ms: Option<u64>,
    #[serde(borrow)]
    cache_scope: Option<Cow<'a, str>>,
}

/// A list that is being read.
pub(super) struct Reading {
    name: String,
    kind: Kind,
    limits: Limits,
    listing: Listing,
    bytes: usize,
    pages: usize,
    cursors: HashSet<String>,
    known: HashSet<String>,
}

impl Reading {
    pub(super) fn new(name: &str, kind: Kind, limits: Limits) -> Self {
        Reading {
            name: name.to_owned(),
            kind,
            limits,
            listing: Listing::default(),
            bytes: 0,
            pages: 0,
            cursors: HashSet::new(),
            known: HashSet::new(),
        }
    }

    /// Takes a page; gives the cursor of the next one, if there is one to be asked for.
    pub(super) fn take(&mut self, raw: &RawValue, modern: bool) -> Result<Option<String>, Missed> {
        let mut page: Page<'_> = serde_json::from_str(raw.get())
            .map_err(|_no_list| Missed::unreadable(&self.name, "no list"))?;
        let entries = match self.kind {
            Kind::Tools => std::mem::take(&mut page.tools),
            Kind::Resources => std::mem::take(&mut page.resources),
            Kind::Templates => std::mem::take(&mut page.resource_templates),
            Kind::Prompts => std::mem::take(&mut page.prompts),
        };
        self.pages += 1;
        let ttl = page.ttl_ms.map(Duration::from_millis);
        self.listing.ttl = match (self.listing.ttl, ttl) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.listing.private |= page.cache_scope.is_some_and(|scope| scope != "public");
        for entry in entries {
            self.bytes = self.bytes.saturating_add(entry.get().len());
            if self.listing.items.len() >= self.limits.list_items_max {
                return Ok(self.cut("it has too many entries"));
            }
            if self.bytes > self.limits.list_bytes_max {
                return Ok(self.cut("it is too large"));
            }
            self.add(entry, modern);
        }
        let Some(cursor) = page.next_cursor else {
            return Ok(None);
        };
        if self.pages >= PAGES_MAX {
            return Ok(self.cut("it has too many pages"));
        }
        if !self.cursors.insert(cursor.clone()) {
            return Ok(self.cut("its pages go round in a circle"));
        }
        Ok(Some(cursor))
    }

    fn cut(&mut self, why: &'static str) -> Option<String> {
        log::warn!("list cut upstream={} list={} cause={why:?}", self.name, self.kind.method());
        self.listing.cut = Some(why);
        None
    }

    fn add(&mut self, entry: &RawValue, modern: bool) {
        let (name, kind) = (&self.name, self.kind);
        let read: Result<Map<String, Value>, _> = serde_json::from_str(entry.get());
        let Some(item) = read.ok() else {
            return log::debug!("entry not understood upstream={name} list={}", kind.method());
        };
        let Some(key) = item.get(kind.key()).and_then(Value::as_str).map(str::to_owned) else {
            return log::debug!("entry without a name upstream={name} list={}", kind.method());
        };
        if modern && kind == Kind::Tools {
            let schema = item.get("inputSchema").unwrap_or(&Value::Null);
            if let Err(why) = headers::annotated(schema) {
                return log::warn!("tool not offered upstream={name} tool={key:?} cause={why:?}");
            }
        }
        if self.known.insert(key) {
            self.listing.items.push(item);
        }
    }

    pub(super) fn end(self) -> Listing {
        self.listing
    }
}

/// What is known of a tool from the last list.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) repeatable: Repeatable,
    pub(super) headers: Vec<headers::Param>,
}

impl Facts {
    pub(super) fn of(tool: &Map<String, Value>) -> Self {
        let hint = |key: &str| {
            tool.get("annotations").and_then(|hints| hints.get(key)).and_then(Value::as_bool)
        };
        let safe = hint("readOnlyHint") == Some(true) || hint("idempotentHint") == Some(true);
        let schema = tool.get("inputSchema").unwrap_or(&Value::Null);
        Facts {
            repeatable: if safe { Repeatable::Always } else { Repeatable::IfNeverSent },
            headers: headers::annotated(schema).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(limits: Limits, pages: &[Value]) -> (Listing, usize) {
        let mut reading = Reading::new("u", Kind::Tools, limits);
        let mut taken = 0;
        for page in pages {
            taken += 1;
            let raw = serde_json::value::to_raw_value(page).unwrap();
            if reading.take(&raw, true).unwrap().is_none() {
                break;
            }
        }
        (reading.end(), taken)
    }

    #[test]
    fn a_list_is_cut_where_its_bounds_are_and_circles_end() {
        let page = json!({"tools": [{"name": "a"}, {"name": "b"}], "nextCursor": ""});
        let (listing, taken) = read(Limits::default(), &[page.clone(), page.clone(), page.clone()]);
        assert_eq!((listing.items.len(), taken), (2, 2));
        assert_eq!(listing.cut, Some("its pages go round in a circle"));
        let (listing, _) =
            read(Limits { list_items_max: 1, ..Limits::default() }, std::slice::from_ref(&page));
        assert_eq!((listing.items.len(), listing.cut), (1, Some("it has too many entries")));
        let (listing, _) = read(Limits { list_bytes_max: 20, ..Limits::default() }, &[page]);
        assert_eq!((listing.items.len(), listing.cut), (1, Some("it is too large")));
    }

    #[test]
    fn what_is_no_tool_is_left_out_and_the_rest_stays() {
        let bad = json!({"name": "bad", "inputSchema": {"x-mcp-header": "A"}});
        let page = json!({"tools": [1, {}, {"name": 7}, bad, {"name": "ok", "new": [1]}]});
        let (listing, _) = read(Limits::default(), &[page]);
        assert_eq!(
            serde_json::to_value(&listing.items).unwrap(),
            json!([{"name": "ok", "new": [1]}])
        );
    }

    #[test]
    fn the_shortest_life_of_a_page_is_the_lists() {
        let page = |ttl: u64, scope: &str, next: Value| json!({"tools": [], "ttlMs": ttl, "cacheScope": scope, "nextCursor": next});
        let pages = [page(9, "public", json!("1")), page(5, "private", json!(null))];
        let (listing, _) = read(Limits::default(), &pages);
        assert_eq!((listing.ttl, listing.private), (Some(Duration::from_millis(5)), true));
    }
}
