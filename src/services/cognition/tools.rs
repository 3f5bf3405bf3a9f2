//! The tools of cognition: read the arguments, ask memory, judge, answer.

use std::{rc::Rc, time::Duration};

use serde_json::{Map, Value, json};

use crate::{
    backplane::arguments::{given, read, required, required_subject},
    backplane::host::Host,
    contract::cognition::{
        AnalyzeConversation, EntitiesReply, ExtractEntities, GetContext, SearchHistory,
        SummarizeHistory,
    },
    domain::{
        entities::entities,
        failure::{Failure, Kind},
        principal::Principal,
    },
    services::cognition::{
        Cognition,
        arguments::{conditions, limit, max_tokens, query},
        bound,
        context::{ContextAsked, SearchAsked},
        insight, written,
    },
};

/// Time in which the index must begin to be made anew.
const REINDEX_PATIENCE: Duration = Duration::from_secs(10);

type Arguments = Map<String, Value>;

/// Adds the tools to the table.
pub(super) fn add(host: Host, cognition: &Rc<Cognition>) -> Host {
    host.tool(
        "get_context",
        "Finds the stored items that matter most for a query, with what they mention and a summary.",
        &[
            "user_id", "query", "conversation_id", "conversation_only", "role", "from", "to",
            "metadata", "limit", "max_tokens", "recency_weight", "include_facts", "min_seq",
        ],
        bound(cognition, get_context),
    )
    .tool(
        "analyze_conversation",
        "Analyses one conversation: its summary, its topics or its sentiment.",
        &["user_id", "conversation_id", "analysis_type"],
        bound(cognition, analyze_conversation),
    )
    .tool(
        "search_history",
        "Searches a user's stored items for words.",
        &[
            "user_id", "query", "limit", "include_conversations", "conversation_id",
            "conversation_only", "role", "from", "to", "metadata", "min_seq",
        ],
        bound(cognition, search_history),
    )
    .tool(
        "summarize_history",
        "Sums up a user's stored items, or those of one conversation.",
        &["user_id", "conversation_id"],
        bound(cognition, summarize_history),
    )
    .tool(
        "extract_entities",
        "Finds addresses, dates, times, numbers and names in a text.",
        &["user_id", "content"],
        bound(cognition, extract_entities),
    )
    .tool(
        "reindex",
        "Makes the index anew from memory, for services; /health shows how far it is.",
        &[],
        bound(cognition, reindex),
    )
}

async fn reindex(
    cognition: Rc<Cognition>,
    caller: Principal,
    _: Arguments,
) -> Result<Value, Failure> {
    if caller.confined_to().is_some() {
        return Err(Failure::new(
            Kind::PermissionDenied,
            "the index is made anew for services only",
        ));
    }
    cognition.index.make_anew(REINDEX_PATIENCE).await?;
    Ok(json!({ "status": "begun" }))
}

async fn get_context(
    cognition: Rc<Cognition>,
    caller: Principal,
    arguments: Arguments,
) -> Result<Value, Failure> {
    let asked: GetContext = read(arguments)?;
    let conversation_id = given(asked.conversation_id);
    let asked = ContextAsked {
        user_id: required_subject(&caller, asked.user_id)?,
        query: query(asked.query)?,
        conditions: conditions(asked.conditions, conversation_id.as_deref())?,
        conversation_id,
        limit: limit(asked.limit),
        max_tokens: max_tokens(asked.max_tokens)?,
        recency_weight: asked.recency_weight,
        include_facts: asked.include_facts.unwrap_or(true),
        min_seq: asked.min_seq,
    };
    written(&cognition.context(asked).await?)
}

async fn analyze_conversation(
    cognition: Rc<Cognition>,
    caller: Principal,
    arguments: Arguments,
) -> Result<Value, Failure> {
    let asked: AnalyzeConversation = read(arguments)?;
    let user_id = required_subject(&caller, asked.user_id)?;
    let conversation_id = required("conversation_id", asked.conversation_id)?;
    analyze(cognition, user_id, conversation_id, asked.analysis_type).await
}

/// One analysis of one conversation, for the tool and for the resource.
pub(super) async fn analyze(
    cognition: Rc<Cognition>,
    user_id: String,
    conversation_id: String,
    kind: Option<String>,
) -> Result<Value, Failure> {
    let kind = given(kind).unwrap_or_else(|| insight::ANALYSIS_DEFAULT.to_owned());
    let (history, trouble) = cognition.history(&user_id, Some(&conversation_id)).await?;
    let reply = cognition
        .judge(move || insight::analysis(kind, user_id, conversation_id, &history, trouble))
        .await?;
    written(&reply)
}

async fn search_history(
    cognition: Rc<Cognition>,
    caller: Principal,
    arguments: Arguments,
) -> Result<Value, Failure> {
    let asked: SearchHistory = read(arguments)?;
    let conversation_id = given(asked.conversation_id);
    let asked = SearchAsked {
        user_id: required_subject(&caller, asked.user_id)?,
        query: required("query", query(asked.query)?)?,
        conditions: conditions(asked.conditions, conversation_id.as_deref())?,
        conversation_id,
        limit: limit(asked.limit),
        include_conversations: asked.include_conversations.unwrap_or(true),
        min_seq: asked.min_seq,
    };
    written(&cognition.search(asked).await?)
}

async fn summarize_history(
    cognition: Rc<Cognition>,
    caller: Principal,
    arguments: Arguments,
) -> Result<Value, Failure> {
    let asked: SummarizeHistory = read(arguments)?;
    let user_id = required_subject(&caller, asked.user_id)?;
    let conversation_id = given(asked.conversation_id);
    let (history, trouble) = cognition.history(&user_id, conversation_id.as_deref()).await?;
    let reply = cognition
        .judge(move || insight::history(user_id, conversation_id, &history, trouble))
        .await?;
    written(&reply)
}

async fn extract_entities(
    cognition: Rc<Cognition>,
    caller: Principal,
    arguments: Arguments,
) -> Result<Value, Failure> {
    let asked: ExtractEntities = read(arguments)?;
    let user_id = required_subject(&caller, asked.user_id)?;
    let content = required("content", asked.content)?;
    let reply = cognition
        .judge(move || EntitiesReply {
            user_id,
            entities: insight::by_kind(entities(&content)),
            content,
        })
        .await?;
    written(&reply)
}
