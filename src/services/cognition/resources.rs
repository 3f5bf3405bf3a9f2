//! The resources of cognition: the tools' answers as lists of typed objects.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::{
    backplane::arguments::{given, subject},
    backplane::host::{Asked, Content, Host},
    contract::cognition::{ContextReply, Hit, Trouble, Wanted},
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
    services::cognition::{
        Cognition,
        arguments::{conditions, limit, max_tokens, query},
        bound,
        context::ContextAsked,
        insight, tools, written,
    },
};

/// Adds the resources to the table.
pub(super) fn add(host: Host, cognition: &Rc<Cognition>) -> Host {
    host.resource(
        "context/{user_id}",
        "The context of a user: metadata, summary, entities, then item by item.",
        bound(cognition, context),
    )
    .resource(
        "context/{user_id}/query/{query}",
        "The context of a user for a query.",
        bound(cognition, context),
    )
    .resource(
        "context/{user_id}/conversation/{conversation_id}",
        "The context of a user for a conversation.",
        bound(cognition, context),
    )
    .resource(
        "conversation_analysis/{conversation_id}/{type}",
        "One conversation analysed: summary, topics or sentiment.",
        bound(cognition, conversation_analysis),
    )
    .resource(
        "entities/{user_id}",
        "What a user's newest items mention, kind by kind.",
        bound(cognition, entities),
    )
    .resource(
        "entities/{user_id}/conversation/{conversation_id}",
        "What a conversation mentions, kind by kind.",
        bound(cognition, entities),
    )
}

async fn context(
    cognition: Rc<Cognition>,
    caller: Principal,
    asked: Asked,
) -> Result<Content, Failure> {
    let conversation_id = given(either(&asked, "conversation_id"));
    let text = |name: &str| asked.query.get(name).cloned();
    let wanted = Wanted {
        conversation_only: asked.query.get("conversation_only").map(|text| text == "true"),
        role: text("role"),
        from: text("from"),
        to: text("to"),
        metadata: None,
    };
    let asked = ContextAsked {
        user_id: user_of_path(&caller, &asked)?,
        query: query(either(&asked, "query"))?,
        conditions: conditions(wanted, conversation_id.as_deref())?,
        conversation_id,
        limit: limit(asked.integer("limit")?),
        max_tokens: max_tokens(asked.integer("max_tokens")?)?,
        recency_weight: weight(&asked)?,
        include_facts: asked.query.get("include_facts").is_none_or(|text| text != "false"),
        min_seq: asked.integer("min_seq")?,
    };
    let reply = cognition.context(asked).await?;
    Ok(Content::Items(entries(reply)?))
}

async fn conversation_analysis(
    cognition: Rc<Cognition>,
    caller: Principal,
    asked: Asked,
) -> Result<Content, Failure> {
    let user_id = subject(&caller, asked.query.get("user_id").cloned())?
        .ok_or_else(|| Failure::new(Kind::MissingParameter, "user_id is required"))?;
    let conversation_id = asked.var("conversation_id").to_owned();
    let kind = Some(asked.var("type").to_owned());
    let reply = tools::analyze(cognition, user_id, conversation_id, kind).await?;
    Ok(Content::Items(vec![reply]))
}

async fn entities(
    cognition: Rc<Cognition>,
    caller: Principal,
    asked: Asked,
) -> Result<Content, Failure> {
    let user_id = user_of_path(&caller, &asked)?;
    let conversation_id = asked.vars.get("conversation_id");
    let mut recalled = cognition.recall(&user_id, conversation_id.map(String::as_str)).await?;
    let trouble = recalled.trouble.take();
    let groups = cognition.judge(move || insight::grouped(&recalled.items)).await?;
    let mut entries: Vec<Value> = trouble.as_ref().map(error).into_iter().collect();
    for (kind, entities) in &groups {
        let entities = written(entities)?;
        entries.push(json!({"type": "entity_group", "entity_type": kind, "entities": entities}));
    }
    Ok(Content::Items(entries))
}

/// The user the path names; a query parameter may repeat it, as older readers do.
fn user_of_path(caller: &Principal, asked: &Asked) -> Result<String, Failure> {
    let user_id = asked.var("user_id");
    caller.must_act_for(user_id)?;
    match asked.query.get("user_id").map(String::as_str) {
        None | Some("") => {}
        Some(repeated) if repeated == user_id => {}
        Some(_) => {
            return Err(Failure::new(Kind::InvalidParameter, "user_id is not the one of the path"));
        }
    }
    Ok(user_id.to_owned())
}

/// A value of the path, else of the query.
fn either(asked: &Asked, name: &str) -> Option<String> {
    asked.vars.get(name).or_else(|| asked.query.get(name)).cloned()
}

fn weight(asked: &Asked) -> Result<Option<f64>, Failure> {
    let Some(text) = asked.query.get("recency_weight") else { return Ok(None) };
    let weight: Option<f64> = text.trim().parse().ok();
    weight.filter(|weight| weight.is_finite()).map(Some).ok_or_else(|| {
        Failure::new(
            Kind::InvalidParameter,
            format!("recency_weight must be a number, not {text:?}"),
        )
    })
}

/// A context as the phase-4 document lists it.
fn entries(reply: ContextReply) -> Result<Vec<Value>, Failure> {
    let mut entries = vec![json!({
        "type": "metadata",
        "user_id": reply.user_id,
        "query": reply.query,
        "conversation_id": reply.conversation_id,
        "count": reply.count,
    })];
    entries.extend(reply.trouble.as_ref().map(error));
    entries.push(json!({"type": "summary", "data": written(&reply.summary)?}));
    entries.push(json!({"type": "entities", "data": written(&reply.entities)?}));
    for hit in &reply.context {
        entries.push(entry(hit)?);
    }
    Ok(entries)
}

/// An item for both families: its own keys at the top, and all of it again as `data`.
fn entry(hit: &Hit) -> Result<Value, Failure> {
    let data = written(hit)?;
    let mut entry = data.clone();
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("type".to_owned(), json!("item"));
        entry.insert("data".to_owned(), data);
    }
    Ok(entry)
}

fn error(trouble: &Trouble) -> Value {
    json!({
        "type": "error",
        "error": trouble.error,
        "message": trouble.error_detail.as_ref().unwrap_or(&trouble.error),
    })
}
