//! What all servers over one table have in common: the ways to the threads that have it, what it
//! offers, and how its resources are read and watched.

use std::{
    collections::BTreeMap,
    rc::Rc,
    sync::{LazyLock, OnceLock},
};

use futures_util::{StreamExt as _, future::LocalBoxFuture};
use rmcp::model::{Resource, ResourceTemplate, Tool};
use tokio::sync::{mpsc, oneshot};

use crate::{
    backplane::{
        context,
        desk::Desks,
        host::{Asked, Content, Host},
        mcp::{
            Pages, Visitor, offers,
            watching::{self, Changes},
        },
    },
    contract::offers::Offers,
    domain::failure::{Failure, Kind},
};

/// What a server says of itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The service's name, and the scheme of its resources.
    pub name: &'static str,
    /// A name for people.
    pub title: &'static str,
    /// What a model should know before it uses it.
    pub instructions: &'static str,
}

/// What servers over one table share.
pub(super) struct Shared {
    pub(super) about: About,
    pub(super) pages: Pages,
    pub(super) desks: Desks<Host>,
    pub(super) watching: Desks<Host>,
    pub(super) lists: OnceLock<Lists>,
}

/// What the table offers; the same on every thread.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) offers: Offers,
    pub(super) tools: Vec<Tool>,
    pub(super) templates: Vec<ResourceTemplate>,
    pub(super) resources: Vec<Resource>,
    /// What can be watched.
    pub(super) live: Vec<&'static str>,
}

impl Lists {
    pub(super) fn of(host: &Host, service: &str) -> Self {
        let offers = offers::all(host);
        let live = host.resources().iter().filter_map(|row| row.template.strip_suffix("/stream"));
        Lists {
            tools: offers.tools.iter().map(|offered| offered.tool.clone()).collect(),
            templates: offers::templates(&offers, service),
            resources: offers::personal(&offers, service),
            live: live.collect(),
            offers,
        }
    }
}

impl Shared {
    pub(super) fn lists(&self) -> &Lists {
        static NONE: LazyLock<Lists> = LazyLock::new(Lists::default);
        self.lists.get().unwrap_or(&NONE)
    }

    /// Asks the table on the nearest thread that has it, in the request's context.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        context: context::RequestContext,
        work: impl FnOnce(Rc<Host>) -> LocalBoxFuture<'static, Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let desk = self.desks.nearest()?;
        context.scope(desk.ask(work)).await
    }

    /// The path and the query that a URI of this service stands for.
    pub(super) fn path_of(&self, uri: &str) -> Result<(String, BTreeMap<String, String>), Failure> {
        let rest = uri
            .strip_prefix(self.about.name)
            .and_then(|rest| rest.strip_prefix("://"))
            .ok_or_else(|| Failure::not_found("resource", uri))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok((path.to_owned(), query))
    }

    /// Whether a URI stands for something that can be watched.
    pub(super) fn is_live(&self, uri: &str) -> bool {
        let Ok((path, _)) = self.path_of(uri) else { return false };
        self.lists()
            .live
            .iter()
            .any(|template| crate::domain::gateway::uris::expands(template, &path))
    }

    pub(super) async fn read(&self, visitor: Visitor, uri: &str) -> Result<String, Failure> {
        let (path, query) = self.path_of(uri)?;
        let Visitor { principal, context } = visitor;
        self.ask(context, move |host| {
            Box::pin(async move {
                match host.read(&path, principal, Asked { query, ..Asked::default() }).await? {
                    Content::Items(items) => serde_json::to_string(&items).map_err(|error| {
                        Failure::new(Kind::Internal, format!("items not written: {error}"))
                    }),
                    Content::Live(_) => Err(Failure::not_found("resource", path)),
                }
            })
        })
        .await
    }

    /// Begins to hear of changes of `uri` on behalf of `visitor`.
    pub(super) async fn watch(&self, visitor: Visitor, uri: &str) -> Result<Changes, Failure> {
        let (path, query) = self.path_of(uri)?;
        let path = format!("{path}/stream");
        let (changed, changes) = watching::changes();
        let (opened, opening) = oneshot::channel();
        let Visitor { principal, context } = visitor;
        let until = context.authorized_until;
        let desk = self.watching.nearest()?;
        let context = context.without_deadline();
        tokio::spawn(context.scope(async move {
            let hearing = desk.ask(move |host: Rc<Host>| {
                Box::pin(async move {
                    let asked = Asked { query, ..Asked::default() };
                    let read = host.read(&path, principal, asked).await;
                    let body = match read {
                        Ok(Content::Live(body)) => body,
                        Ok(Content::Items(_)) => {
                            drop(opened.send(Err(Failure::not_found("live resource", path))));
                            return Ok(());
                        }
                        Err(failure) => {
                            drop(opened.send(Err(failure)));
                            return Ok(());
                        }
                    };
                    drop(opened.send(Ok(())));
                    hear(body, &changed).await;
                    Ok::<(), Failure>(())
                })
            });
            let end = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = hearing => if let Err(failure) = ended {
                    log::warn!("a resource is not watched any longer cause={failure}");
                },
                () = end => {}
            }
        }));
        match opening.await {
            Ok(opened) => opened.map(|()| changes),
            Err(_dropped) => Err(Failure::new(Kind::Overloaded, "too many resources are watched")),
        }
    }
}

/// Says `changed` for every event of a live body, until nobody listens.
async fn hear(mut body: crate::backplane::host::LiveBody, changed: &mpsc::Sender<()>) {
    loop {
        let piece = tokio::select! {
            piece = body.next() => piece,
            () = changed.closed() => return,
        };
        let Some(Ok(piece)) = piece else { return };
        // The first piece only says where the stream begins; comments keep it open.
        if memchr::memmem::find(&piece, b"data:").is_some() {
            // Full: the change before this one has not been heard yet, and they are one.
            if changed.try_send(()).is_err() && changed.is_closed() {
                return;
            }
        }
    }
}
