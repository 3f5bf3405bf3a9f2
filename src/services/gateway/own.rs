//! Our own services behind the gateway, and core's own table: reached on the thread that has their
//! clients, in the name of whoever asked.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use rmcp::model::{CallToolResult, GetPromptResult, Tool};
use serde_json::{Map, Value};
use tokio::{sync::oneshot, time::Instant};

use super::{listing::Listing, passes::Passes};
use crate::{
    backplane::{
        client::{Clients, StreamItem, segment},
        desk::Desks,
        discovery::Directory,
        host::{Content, Host},
        mcp::{
            Visitor, answered, failed, offers,
            watching::{self, Changes},
        },
    },
    contract::offers::Offers,
    domain::{
        backoff::Repeatable,
        failure::{Failure, Kind},
        principal::Principal,
    },
};

/// Core's own name as a source.
pub const CORE: &str = "core";
/// Calls of one worker under way at once.
const PLACES: usize = 1024;

/// What one worker has for the gateway.
pub struct Local {
    /// The clients of our services.
    pub clients: Rc<Clients>,
    /// Core's own table.
    pub table: Rc<Host>,
}

/// Our own services. Cheap to clone.
#[derive(Clone)]
pub struct Own {
    locals: Desks<Local>,
    watching: Desks<Local>,
    directory: Directory,
    passes: Passes,
}

impl Own {
    /// The services that `directory` knows.
    #[must_use]
    pub fn new(directory: Directory, passes: Passes) -> Self {
        Own { locals: Desks::default(), watching: Desks::default(), directory, passes }
    }

    /// Serves from this thread, too.
    pub fn open(&self, local: Local, watched_max: usize) {
        let local = Rc::new(local);
        self.locals.open(Rc::clone(&local), PLACES);
        self.watching.open(local, watched_max);
    }

    /// Their names, core's own first.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let services = self.directory.services().into_iter().filter(|name| name != CORE);
        std::iter::once(CORE.to_owned()).chain(services).collect()
    }

    /// Whether a source is one of them.
    #[must_use]
    pub fn is_ours(&self, source: &str) -> bool {
        source == CORE || self.directory.knows(source)
    }

    /// Why calls of `service` are refused now, where its breakers are open.
    #[must_use]
    pub fn refusal(&self, service: &str) -> Option<Failure> {
        let now = Instant::now();
        let endpoints = self.directory.endpoints(service);
        let refused = endpoints.iter().map(|endpoint| endpoint.breaker().refuses(now));
        let waits: Option<Vec<Duration>> =
            refused.map(|refused| Some(refused?.retry_after)).collect();
        let wait = waits?.into_iter().min()?.max(Duration::from_secs(1));
        let message = format!("{service} has failed too often and is not asked now");
        Some(Failure::new(Kind::CircuitOpen, message).of_service(service).retry_after(wait))
    }

    /// What `service` offers.
    ///
    /// # Errors
    /// Why it could not be asked, or `bad_reply` when it answered something else.
    pub async fn list(&self, service: String) -> Result<Listing, Failure> {
        let name = service.clone();
        let offered: Offers = self
            .locals
            .nearest()?
            .ask(move |local: Rc<Local>| {
                Box::pin(async move {
                    if service == CORE {
                        return Ok(offers::all(&local.table));
                    }
                    let reply = local.clients.of(&service)?.offers().await?;
                    serde_json::from_value(reply).map_err(|error| {
                        let message = format!("{service} lists what cannot be read: {error}");
                        Failure::new(Kind::BadReply, message).of_service(&service)
                    })
                })
            })
            .await?;
        Ok(Listing::of_service(&name, offered))
    }

    /// Calls a tool for `visitor`.
    pub async fn call(
        &self,
        visitor: Visitor,
        service: &str,
        tool: &Tool,
        name: String,
        arguments: Map<String, Value>,
    ) -> CallToolResult {
        let repeatable =
            if is_repeatable(tool) { Repeatable::Always } else { Repeatable::IfNeverSent };
        let service = service.to_owned();
        let called = self
            .ask(visitor, move |local, principal| async move {
                if service == CORE {
                    return local.table.call(&name, principal, arguments).await;
                }
                local.clients.of(&service)?.call(&name, arguments, repeatable).await
            })
            .await;
        called.map_or_else(|failure| failed(&failure), answered)
    }

    /// Fills in a prompt for `visitor`.
    ///
    /// # Errors
    /// The service's own failure, or why it could not be asked.
    pub async fn prompt(
        &self,
        visitor: Visitor,
        service: &str,
        name: String,
        arguments: Map<String, Value>,
    ) -> Result<GetPromptResult, Failure> {
        let service = service.to_owned();
        self.ask(visitor, move |local, principal| async move {
            if service == CORE {
                return local.table.fill_in(&name, principal, offers::texts(arguments)).await;
            }
            let reply = local.clients.of(&service)?.prompt(&name, arguments).await?;
            serde_json::from_value(reply).map_err(|error| {
                let message = format!("{service} filled in what cannot be read: {error}");
                Failure::new(Kind::BadReply, message).of_service(&service)
            })
        })
        .await
    }

    /// Reads a resource for `visitor`, as JSON.
    ///
    /// # Errors
    /// As [`Own::prompt`].
    pub async fn read(
        &self,
        visitor: Visitor,
        service: &str,
        uri: &str,
    ) -> Result<String, Failure> {
        let path = path_of(service, uri)?;
        let service = service.to_owned();
        self.ask(visitor, move |local, principal| async move {
            let items = if service == CORE {
                match local
                    .table
                    .read(&path, principal, crate::backplane::host::Asked::default())
                    .await?
                {
                    Content::Items(items) => items,
                    Content::Live(_) => return Err(Failure::not_found("resource", path)),
                }
            } else {
                local.clients.of(&service)?.read(path).await?
            };
            serde_json::to_string(&items).map_err(|error| {
                Failure::new(Kind::Internal, format!("items not written: {error}"))
            })
        })
        .await
    }

    /// Begins to hear of changes of a resource of `service`, of which `live` are the templates that
    /// can be followed. Services follow with core's own token, so that it is decided here whose a
    /// resource is: it must name its user.
    ///
    /// # Errors
    /// `resource_not_found`, `permission_denied`, `overloaded`, or why its stream was not opened.
    pub async fn watch(
        &self,
        visitor: Visitor,
        service: &str,
        uri: &str,
        live: &[String],
    ) -> Result<Changes, Failure> {
        let path = path_of(service, uri)?;
        if !may_follow(&visitor.principal, live, &path) {
            return Err(Failure::not_found("live resource", uri));
        }
        let (until, deadline) = (visitor.context.authorized_until, visitor.context.deadline);
        let context = visitor.context.without_deadline();
        let (changed, changes) = watching::changes();
        let (tell_open, open) = oneshot::channel();
        let service = service.to_owned();
        let desk = self.watching.nearest()?;
        let ended = changed.clone();
        tokio::spawn(context.scope(async move {
            let hearing = desk.ask(move |local: Rc<Local>| {
                Box::pin(async move {
                    let stream = format!("{path}/stream");
                    let mut reader = match local.clients.of(&service)?.open(stream, None).await {
                        Ok(reader) => reader,
                        Err(failure) => {
                            drop(tell_open.send(Err(failure)));
                            return Ok(());
                        }
                    };
                    let mut tell_open = Some(tell_open);
                    loop {
                        let item = tokio::select! {
                            item = reader.next() => item,
                            () = changed.closed() => return Ok(()),
                        };
                        let Some(item) = item else { return Ok(()) };
                        let tell = tell_open.take();
                        match item {
                            StreamItem::Connected { .. } | StreamItem::Position(_) => {
                                drop(tell.map(|tell| tell.send(Ok(()))));
                            }
                            StreamItem::Interrupted(failure) => {
                                if let Some(tell) = tell {
                                    drop(tell.send(Err(failure)));
                                    return Ok(());
                                }
                            }
                            StreamItem::Event { .. } => {
                                drop(tell.map(|tell| tell.send(Ok(()))));
                                if changed.try_send(()).is_err() && changed.is_closed() {
                                    return Ok(());
                                }
                            }
                        }
                    }
                })
            });
            let expired = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                heard = hearing => if let Err(failure) = heard {
                    log::warn!("a resource is not watched any longer cause={failure}");
                },
                () = expired => {}
                () = ended.closed() => {}
            }
        }));
        // Who is told that they watch misses nothing from then on.
        let opened = tokio::time::timeout_at(deadline, open).await;
        let away = || Failure::new(Kind::Unavailable, format!("{uri} is not to be followed now"));
        opened.ok().and_then(Result::ok).unwrap_or_else(|| Err(away()))?;
        Ok(changes)
    }

    async fn ask<T, A>(
        &self,
        visitor: Visitor,
        work: impl FnOnce(Rc<Local>, Principal) -> A + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        A: Future<Output = Result<T, Failure>> + 'static,
    {
        let Visitor { principal, mut context } = visitor;
        context.bearer = self.passes.of(&principal)?;
        let desk = self.locals.nearest()?;
        context.scope(desk.ask(move |local| Box::pin(work(local, principal)))).await
    }
}

/// Whether calling it twice does no more than once.
#[must_use]
pub fn is_repeatable(tool: &Tool) -> bool {
    tool.annotations.as_ref().is_some_and(|hints| {
        hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true)
    })
}

/// The path and query below `/resource/` that a URI stands for, escaped anew.
fn path_of(service: &str, uri: &str) -> Result<String, Failure> {
    let rest = uri
        .strip_prefix(service)
        .and_then(|rest| rest.strip_prefix("://"))
        .ok_or_else(|| Failure::not_found("resource", uri))?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut escaped = String::new();
    for part in path.split('/') {
        let part =
            percent_encoding::percent_decode_str(part).decode_utf8().map_err(|_not_utf8| {
                Failure::new(Kind::InvalidRequest, "the URI is not valid UTF-8")
            })?;
        if !escaped.is_empty() {
            escaped.push('/');
        }
        escaped.push_str(&segment(&part));
    }
    let pairs: BTreeMap<String, String> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    if !pairs.is_empty() {
        let query =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        escaped.push('?');
        escaped.push_str(&query);
    }
    Ok(escaped)
}

/// Whether `principal` may follow what a path stands for: a live template fits it, and where a user
/// stands in the template, the path has them.
fn may_follow(principal: &Principal, live: &[String], path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').collect();
    live.iter().filter_map(|template| template.strip_suffix("/stream")).any(|template| {
        let parts: Vec<&str> = template.split('/').collect();
        let fits = parts.len() == segments.len()
            && parts.iter().zip(&segments).all(|(part, segment)| {
                part.starts_with('{') && !segment.is_empty() || part == segment
            });
        let user = parts.iter().zip(&segments).find(|(part, _)| **part == "{user_id}");
        let theirs = match (principal.confined_to(), user) {
            (None, _) => true,
            (Some(own), Some((_, named))) => segment(own) == **named,
            (Some(_), None) => false,
        };
        fits && theirs
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_escaped_anew() {
        let path = |uri| path_of("memory", uri).map_err(|failure| failure.kind);
        assert_eq!(path("memory://history/ann").as_deref(), Ok("history/ann"));
        assert_eq!(path("memory://history/a%2Fb?limit=5").as_deref(), Ok("history/a%2Fb?limit=5"));
        assert_eq!(path("memory://history/a b?x=1 2").as_deref(), Ok("history/a%20b?x=1+2"));
        assert_eq!(path("memory://../tool/x").as_deref(), Ok("%2E%2E/tool/x"));
        assert_eq!(path("cognition://history/ann"), Err(Kind::NotFound));
        assert_eq!(path("memory://%ff"), Err(Kind::InvalidRequest));
    }

    #[test]
    fn only_what_names_its_user_is_followed_by_a_user() {
        let live =
            ["history/{user_id}/stream", "conversation/{conversation_id}/stream", "log/stream"]
                .map(str::to_owned);
        let ann = Principal::User { id: "an n".into(), name: String::new(), email: String::new() };
        let service = Principal::Service { name: "s".into() };
        for (path, anns, services) in [
            ("history/an%20n", true, true),
            ("history/bob", false, true),
            ("history/", false, false),
            ("conversation/c", false, true),
            ("log", false, true),
            ("history/an%20n/stream", false, false),
        ] {
            assert_eq!(may_follow(&ann, &live, path), anns, "{path}");
            assert_eq!(may_follow(&service, &live, path), services, "{path}");
        }
    }
}
