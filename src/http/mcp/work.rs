//! One request's work: inside its context, until its deadline, its client's end or its own panic; and
//! what its result says besides.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use rmcp::{
    ErrorData, RoleServer,
    model::{
        CacheScope, CallToolResult, CompleteResult, DiscoverResult, GetPromptResult,
        InputRequiredResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListToolsResult, MetaObject, ProtocolVersion, ReadResourceResult, ResultType,
    },
    service::RequestContext,
};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    backplane::context,
    http::mcp::{bridge::Hold, scene},
};

/// The reserved key under which a result says who answered.
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// What is known of a request before its handler takes it.
pub(super) struct Work {
    /// Held until the work is done: in a session its client may have hung up long before.
    hold: Option<Arc<Hold>>,
    scene: Option<context::RequestContext>,
    gone: Gone,
    /// Whether it is of 2026-07-28 or later.
    pub(super) modern: bool,
}

type Gone = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Work {
    pub(super) fn of(request: &RequestContext<RoleServer>) -> Self {
        let version = request.protocol_version();
        // Versions are dates, which compare like text.
        let modern = version
            .is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str());
        let gone = request.ct.clone();
        let gone: Gone = Box::pin(async move { gone.cancelled().await });
        let parts = request.extensions.get::<http::request::Parts>();
        let hold = parts.and_then(|parts| parts.extensions.get::<Arc<Hold>>().cloned());
        Work { hold, scene: scene(request), gone, modern }
    }

    /// Runs it to its end, whatever that is.
    pub(super) async fn run<T>(
        self,
        work: impl Future<Output = Result<T, ErrorData>> + Send,
    ) -> Result<T, ErrorData> {
        let Work { hold: _hold, scene, gone, .. } = self;
        let Some(scene) = scene else { return guard(work, gone, None).await };
        let deadline = scene.deadline;
        scene.scope(guard(work, gone, Some(deadline))).await
    }

    /// Runs what has no deadline: a subscription.
    pub(super) async fn run_on<T>(
        mut self,
        work: impl Future<Output = Result<T, ErrorData>> + Send,
    ) -> Result<T, ErrorData> {
        self.scene = self.scene.map(context::RequestContext::without_deadline);
        self.run(work).await
    }

    /// When the token of whoever asked runs out.
    pub(super) fn authorized_until(&self) -> Option<Instant> {
        self.scene.as_ref().and_then(|scene| scene.authorized_until)
    }
}

async fn guard<T>(
    work: impl Future<Output = Result<T, ErrorData>> + Send,
    gone: Gone,
    deadline: Option<Instant>,
) -> Result<T, ErrorData> {
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = AssertUnwindSafe(work).catch_unwind() => done.unwrap_or_else(|_told_by_the_hook| {
            Err(ErrorData::internal_error("this should not have happened", None))
        }),
        () = gone => Err(ErrorData::internal_error("cancelled", None)),
        () = late => Err(ErrorData::internal_error("not done in the time it had", None)),
    }
}

/// A result of 2026-07-28.
pub(super) trait Outcome {
    /// Where it says who answered.
    fn meta(&mut self) -> &mut Option<MetaObject>;

    /// Says that it is whole, if it says nothing: what was passed on from a server of an earlier
    /// revision does not.
    fn be_whole(&mut self) {}

    /// Gives it what it does not say itself: for how long and for whom it may be kept, if it may.
    fn keep_for(&mut self, _ttl: Duration) {}
}

/// Says on a result that it is whole, who answered, and for how long it may be kept.
pub(super) fn complete(outcome: &mut impl Outcome, server: &Value, ttl: Duration) {
    let meta = outcome.meta().get_or_insert_default();
    if !meta.contains_key(SERVER_INFO) {
        meta.insert(SERVER_INFO.to_owned(), server.clone());
    }
    outcome.be_whole();
    outcome.keep_for(ttl);
}

fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

macro_rules! outcomes {
    ($($result:ty),*) => {$(
        impl Outcome for $result {
            fn meta(&mut self) -> &mut Option<MetaObject> {
                &mut self.meta
            }

            fn be_whole(&mut self) {
                self.result_type.get_or_insert(ResultType::COMPLETE);
            }
        }
    )*};
}

macro_rules! lists {
    ($($result:ty),*) => {$(
        impl Outcome for $result {
            fn meta(&mut self) -> &mut Option<MetaObject> {
                &mut self.meta
            }

            fn be_whole(&mut self) {
                self.result_type.get_or_insert(ResultType::COMPLETE);
            }

            // What one caller may see another may not, unless the handler says so.
            fn keep_for(&mut self, ttl: Duration) {
                self.ttl_ms.get_or_insert(milliseconds(ttl));
                self.cache_scope.get_or_insert(CacheScope::Private);
            }
        }
    )*};
}

outcomes!(CallToolResult, CompleteResult, GetPromptResult);
lists!(ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult);

impl Outcome for InputRequiredResult {
    fn meta(&mut self) -> &mut Option<MetaObject> {
        &mut self.meta
    }
}

impl Outcome for ReadResourceResult {
    fn meta(&mut self) -> &mut Option<MetaObject> {
        &mut self.meta
    }

    fn be_whole(&mut self) {
        self.result_type.get_or_insert(ResultType::COMPLETE);
    }

    // What was read is its handler's to date: only it knows for how long it stays true. Where it does
    // not say so, it is not kept.
    fn keep_for(&mut self, _ttl: Duration) {
        self.ttl_ms.get_or_insert(0);
        self.cache_scope.get_or_insert(CacheScope::Private);
    }
}

impl Outcome for DiscoverResult {
    fn meta(&mut self) -> &mut Option<MetaObject> {
        &mut self.meta
    }

    fn keep_for(&mut self, ttl: Duration) {
        if self.ttl_ms == 0 {
            self.ttl_ms = milliseconds(ttl);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn completed<T>(passed_on: Value) -> Value
    where
        T: Outcome + serde::de::DeserializeOwned + serde::Serialize,
    {
        let mut result: T = serde_json::from_value(passed_on).unwrap();
        complete(&mut result, &json!({"name": "x"}), Duration::from_secs(1));
        serde_json::to_value(&result).unwrap()
    }

    #[test]
    fn what_a_server_of_an_earlier_revision_leaves_out_is_said() {
        let called = completed::<CallToolResult>(json!({"content": [], "isError": true}));
        assert_eq!(called["resultType"], "complete");
        assert_eq!(called["isError"], true);
        assert_eq!(called["_meta"][SERVER_INFO]["name"], "x");
        let prompt = completed::<GetPromptResult>(json!({"messages": []}));
        assert_eq!(prompt["resultType"], "complete");
        let values = completed::<CompleteResult>(json!({"completion": {"values": []}}));
        assert_eq!(values["resultType"], "complete");
        let read = completed::<ReadResourceResult>(json!({"contents": []}));
        assert_eq!(
            (&read["resultType"], &read["ttlMs"], &read["cacheScope"]),
            (&json!("complete"), &json!(0), &json!("private"))
        );
    }

    #[test]
    fn what_is_said_already_stays() {
        let kept = json!({"contents": [], "ttlMs": 7, "cacheScope": "public"});
        let read = completed::<ReadResourceResult>(kept);
        assert_eq!((&read["ttlMs"], &read["cacheScope"]), (&json!(7), &json!("public")));
    }
}
