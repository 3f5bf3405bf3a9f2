//! One request to an upstream: a line taken, asked, given up if it is no good, and asked again if
//! that is safe.

use std::{
    borrow::Cow,
    sync::{Arc, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use tokio::{sync::broadcast, time::Instant};

use super::{
    Call, Change, Kind, Trouble, Upstream,
    call::{Missed, Sign},
    lines::Line,
    listen,
    lists::Facts,
    slot::Taken,
    web::Request,
};
use crate::domain::{
    backoff::Repeatable,
    failure::{Failure, Kind as FailureKind},
};

/// What a result says it is; absent means complete.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed<'a> {
    #[serde(borrow)]
    result_type: Option<Cow<'a, str>>,
}

/// A result, and whether it is the newer era's.
pub(super) type Answered = (Box<RawValue>, bool);

impl Upstream {
    /// What changes at the upstream from now on; the first who asks makes it be listened to.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        let inner = &self.inner;
        let changes = inner.lines.parts.ears.listen();
        inner.listening.call_once(|| {
            let (lines, wanted) = (Arc::downgrade(&inner.lines), Arc::clone(&inner.wanted));
            let listening = inner.lines.parts.runtime.spawn(listen::listen(lines, wanted));
            let mut tasks = inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.push(listening.abort_handle());
        });
        changes
    }

    /// Makes [`Upstream::changes`] tell of this resource too, once more.
    ///
    /// # Errors
    /// [`Trouble`], also when there are too many subscriptions.
    pub async fn subscribe(&self, uri: &str, call: &Call) -> Result<(), Trouble> {
        let most = self.inner.spec.limits.subscriptions_max;
        let first = self.inner.wanted.add(uri, most).ok_or_else(|| {
            *Missed::crowded(self.name(), "it has as many subscriptions as it may have").trouble
        })?;
        let told =
            if first { self.tell_of("resources/subscribe", uri, call).await } else { Ok(()) };
        if told.is_err() {
            self.inner.wanted.remove(uri);
        }
        told
    }

    /// Takes one [`Upstream::subscribe`] back.
    ///
    /// # Errors
    /// [`Trouble`]; the subscription is forgotten all the same.
    pub async fn unsubscribe(&self, uri: &str, call: &Call) -> Result<(), Trouble> {
        if self.inner.wanted.remove(uri) {
            return self.tell_of("resources/unsubscribe", uri, call).await;
        }
        Ok(())
    }

    /// In the earlier era a request; in the newer one the listener has seen the change already.
    async fn tell_of(&self, method: &'static str, uri: &str, call: &Call) -> Result<(), Trouble> {
        // Changes come on the line that everyone shares.
        let ours = Call { deadline: call.deadline, ..Call::within(Duration::ZERO) };
        if self.meet(&ours).await?.modern {
            return Ok(());
        }
        let params = Map::from_iter([("uri".to_owned(), Value::from(uri))]);
        self.ask(method, params, &ours).await.map(drop)
    }

    pub(super) async fn read(
        &self,
        method: &'static str,
        params: Map<String, Value>,
        call: &Call,
    ) -> Result<Box<RawValue>, Trouble> {
        let deadline = self.deadline(call, self.inner.spec.limits.call_timeout);
        let request = Request::new(method, params);
        let asked = self.exchange(&request, call, deadline, Repeatable::Always, None).await?;
        Ok(asked.map_or_else(super::rpc::empty, |(raw, _)| raw))
    }

    /// Asks; `None` when the upstream did not declare what `of` needs.
    pub(super) async fn exchange(
        &self,
        request: &Request,
        call: &Call,
        deadline: Instant,
        repeatable: Repeatable,
        of: Option<Kind>,
    ) -> Result<Option<Answered>, Trouble> {
        let outcome =
            self.inner.guard.run(deadline, repeatable, || self.attempt(request, call, of)).await;
        self.inner.history.note(&outcome);
        outcome
    }

    async fn attempt(
        &self,
        request: &Request,
        call: &Call,
        of: Option<Kind>,
    ) -> Result<Option<Answered>, Missed> {
        let lines = &self.inner.lines;
        let Taken { line, .. } = &lines.take(call).await?;
        let peer = line.peer();
        if of.is_some_and(|kind| peer.is_some_and(|peer| !peer.can(&[kind.capability()]))) {
            return Ok(None);
        }
        let modern = peer.is_some_and(|peer| peer.modern);
        let asked = line.ask(request, Some(call)).await;
        let checked = asked.and_then(|raw| {
            if is_result(&raw, modern) {
                return Ok(Some((raw, modern)));
            }
            Err(Missed::unreadable(self.name(), "no result of a kind that is known"))
        });
        checked.map_err(|mut missed| {
            missed.sign = meant(missed.sign, line, &missed.trouble, modern);
            if !matches!(missed.sign, Sign::None | Sign::HeadersDiffer) {
                lines.give_up(line, missed.sign);
            }
            missed
        })
    }

    pub(super) fn deadline(&self, call: &Call, most: Duration) -> Instant {
        call.deadline.min(Instant::now() + most)
    }

    /// What the last list says of the tool that is called.
    pub(super) fn facts(&self, request: &Request) -> Option<Facts> {
        let name = request.params.get("name")?.as_str()?;
        self.inner.facts.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.get(name).cloned()
    }

    pub(super) fn knows_no_tools(&self) -> bool {
        self.inner.facts.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// The upstream is not there any more.
    #[must_use]
    pub fn removed(name: &str) -> Failure {
        Failure::new(FailureKind::ServiceNotFound, format!("there is no upstream {name}"))
            .of_service(name)
    }
}

/// What a sign means on this line.
fn meant(sign: Sign, line: &Line, trouble: &Trouble, modern: bool) -> Sign {
    match (sign, line) {
        // Without sessions, 404 is a method that is not there, or a server that has changed.
        (Sign::SessionLost, Line::Web(_)) if modern => match trouble {
            Trouble::Refused(_) => Sign::None,
            Trouble::Failed(_) | Trouble::Challenged { .. } => Sign::OtherEra,
        },
        (Sign::SessionLost, Line::Web(web)) if !web.in_a_session() => Sign::None,
        // The old transport's posts go to a place that its stream named.
        (Sign::SessionLost | Sign::OtherEra, Line::Pipe(_)) => Sign::SessionLost,
        // Connections come and go under a session.
        (Sign::LineLost, Line::Web(_)) => Sign::None,
        (other, _) => other,
    }
}

fn is_result(raw: &RawValue, modern: bool) -> bool {
    let Ok(typed) = serde_json::from_str::<Typed<'_>>(raw.get()) else {
        return false;
    };
    // Absent is complete, also from servers of the newer era.
    !modern
        || matches!(
            typed.result_type.as_deref(),
            None | Some("complete" | "input_required" | "task")
        )
}
