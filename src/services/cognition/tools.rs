//! The tools of cognition: read the arguments, ask memory, judge, answer.

use std::rc::Rc;

use serde_json::{Map, Value};

use crate::{
    backplane::arguments::{given, read, required, required_subject},
    backplane::host::Host,
    contract::cognition::{
        AnalyzeConversation, EntitiesReply, ExtractEntities, GetContext, SearchHistory,
        SummarizeHistory,
    },
    domain::{
        entities::entities, failure::Failure, principal::Principal,
        relevance::RECENCY_WEIGHT_DEFAULT,
    },
    services::cognition::{
        Cognition,
        arguments::{limit, query},
        bound,
        context::ContextAsked,
        insight, written,
    },
};

type Arguments = Map<String, Value>;

/// Adds the tools to the table.
pub(super) fn add(host: Host, cognition: &Rc<Cognition>) -> Host {
    host.tool(
        "get_context",
        "Finds the stored items that matter most for a query, with what they mention and a summary.",
        &["user_id", "query", "conversation_id", "limit", "recency_weight"],
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
        &["user_id", "query", "limit", "include_conversations"],
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
}

async fn get_context(
    cognition: Rc<Cognition>,
    caller: Principal,
    arguments: Arguments,
) -> Result<Value, Failure> {
    let asked: GetContext = read(arguments)?;
    let asked = ContextAsked {
        user_id: required_subject(&caller, asked.user_id)?,
        query: query(asked.query)?,
        conversation_id: given(asked.conversation_id),
        limit: limit(asked.limit),
        recency_weight: asked.recency_weight.unwrap_or(RECENCY_WEIGHT_DEFAULT),
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
    let recalled = cognition.memory.conversation(&user_id, &conversation_id).await?;
    let reply = cognition
        .judge(move || insight::analysis(kind, user_id, conversation_id, recalled))
        .await?;
    written(&reply)
}

async fn search_history(
    cognition: Rc<Cognition>,
    caller: Principal,
    arguments: Arguments,
) -> Result<Value, Failure> {
    let asked: SearchHistory = read(arguments)?;
    let user_id = required_subject(&caller, asked.user_id)?;
    let query = required("query", query(asked.query)?)?;
    let with_conversations = asked.include_conversations.unwrap_or(true);
    let recalled = cognition.memory.newest(&user_id).await?;
    let reply = cognition
        .judge(move || {
            insight::found(user_id, query, limit(asked.limit), with_conversations, recalled)
        })
        .await?;
    written(&reply)
}

async fn summarize_history(
    cognition: Rc<Cognition>,
    caller: Principal,
    arguments: Arguments,
) -> Result<Value, Failure> {
    let asked: SummarizeHistory = read(arguments)?;
    let user_id = required_subject(&caller, asked.user_id)?;
    let conversation_id = given(asked.conversation_id);
    let recalled =
        cognition.memory.all_or_conversation(&user_id, conversation_id.as_deref()).await?;
    let reply =
        cognition.judge(move || insight::history(user_id, conversation_id, recalled)).await?;
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
