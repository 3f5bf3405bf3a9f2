//! Memory's tools and resources, both families of names.

use serde_json::{Map, Value, json};

use crate::{
    backplane::{
        arguments::{read, required, required_subject},
        clock,
        host::{Asked, Content, Host, integer},
    },
    contract::memory::{OfItem, UpdateItem},
    domain::{
        failure::{Failure, Kind},
        principal::Principal,
    },
    services::memory::{
        Memory, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, bulk, entries, facts, intake, shapes,
        store::{Filter, Page, Removed},
        value, values,
    },
};

/// Memory's table.
#[must_use]
pub fn host(memory: &Memory) -> Host {
    let host = resources(tools(bulk::row(Host::new(), memory), memory), memory);
    shapes::shaped(facts::rows(entries::rows(host, memory), memory))
}

/// One row of the table: a tool whose work is a method below.
macro_rules! tool {
    ($host:expr, $memory:expr, $name:literal, $about:literal, $arguments:expr, $work:path) => {{
        let memory = $memory.clone();
        $host.tool($name, $about, $arguments, move |caller, arguments| {
            let memory = memory.clone();
            Box::pin(async move { $work(&memory, caller, arguments).await })
        })
    }};
}

/// One row of the table: a resource whose work is a method below.
macro_rules! resource {
    ($host:expr, $memory:expr, $template:literal, $about:literal, $work:path) => {{
        let memory = $memory.clone();
        $host.resource($template, $about, move |caller, asked| {
            let memory = memory.clone();
            Box::pin(async move { $work(&memory, caller, asked).await })
        })
    }};
}

fn tools(host: Host, memory: &Memory) -> Host {
    let of_item = &["user_id", "item_id", "message_id"];
    let host = tool!(
        host,
        memory,
        "store_input",
        "Stores an input durably; the same id twice stores once.",
        &["user_id", "input_data", "data"],
        store_input
    );
    let host = tool!(
        host,
        memory,
        "update_message",
        "Changes the text or merges into the metadata of one of the user's messages.",
        &["user_id", "message_id", "updates"],
        update_message
    );
    let host = tool!(
        host,
        memory,
        "update_item",
        "Changes one of the user's items and answers it whole.",
        &["user_id", "item_id", "data"],
        update_item
    );
    let host = tool!(
        host,
        memory,
        "delete_message",
        "Removes one of the user's messages.",
        of_item,
        delete_message
    );
    let host = tool!(
        host,
        memory,
        "delete_item",
        "Removes one of the user's items.",
        of_item,
        delete_item
    );
    let host = tool!(
        host,
        memory,
        "get_message",
        "Answers a message by its id, or null.",
        of_item,
        get_message
    );
    let host = tool!(host, memory, "get_item", "Answers an item by its id.", of_item, get_item);
    tool!(
        host,
        memory,
        "forget_user",
        "Removes everything of a user and says how much.",
        &["user_id"],
        forget_user
    )
}

#[expect(clippy::too_many_lines, reason = "one table, one row each")]
fn resources(host: Host, memory: &Memory) -> Host {
    let host = resource!(
        host,
        memory,
        "history/{user_id}",
        "What a user said, newest first; after=SEQ reads forward, before=SEQ backward.",
        history
    );
    let host = resource!(
        host,
        memory,
        "history/{user_id}/stream",
        "What a user says from now on, or from after=SEQ on.",
        history_live
    );
    let host = resource!(
        host,
        memory,
        "history/{user_id}/limit/{n}",
        "The newest n items of a user.",
        history
    );
    let host = resource!(
        host,
        memory,
        "history/{user_id}/conversation/{conversation_id}",
        "What a user said in one conversation.",
        history
    );
    let host = resource!(
        host,
        memory,
        "history/{user_id}/conversation/{conversation_id}/stream",
        "What a user says in one conversation from now on.",
        history_live
    );
    let host = resource!(
        host,
        memory,
        "conversation/{conversation_id}",
        "A conversation, newest first, as far as the caller may see it.",
        history
    );
    let host = resource!(
        host,
        memory,
        "conversation/{conversation_id}/stream",
        "A conversation from now on, as far as the caller may see it.",
        history_live
    );
    let host = resource!(
        host,
        memory,
        "conversation/{conversation_id}/user/{user_id}",
        "What one user said in a conversation.",
        history
    );
    let host =
        resource!(host, memory, "log/head", "The newest sequence number of the log.", log_head);
    let host = resource!(host, memory, "message/{item_id}", "One message by its id.", one_item);
    let host = resource!(host, memory, "item/{item_id}", "One item by its id.", one_item);
    let host = resource!(
        host,
        memory,
        "item/{item_id}/{user_id}",
        "One item of a user by its id.",
        one_item
    );
    resource!(
        host,
        memory,
        "log/stream",
        "Everything that is stored, for services that follow the log.",
        history_live
    )
}

async fn store_input(
    memory: &Memory,
    caller: Principal,
    mut arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let named = match arguments.remove("user_id").unwrap_or_default() {
        Value::String(user) => user,
        Value::Null => caller.confined_to().unwrap_or_default().to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(Failure::invalid_field("user_id", "must be a string", "type_error"));
        }
    };
    // Two mistakes are answered as the first clients expect them: 200 with an error text.
    let refused = |error: &str| Ok(json!({"status": "error", "user_id": named, "error": error}));
    if named.trim().is_empty() {
        return refused("User ID is required");
    }
    let input = arguments.remove("input_data").or_else(|| arguments.remove("data"));
    let input = match input {
        Some(Value::Object(input)) if !input.is_empty() => input,
        Some(Value::Object(_) | Value::Null) | None => return refused("Input data is required"),
        Some(_) => {
            return Err(Failure::invalid_field("input_data", "must be an object", "type_error"));
        }
    };
    let stored = memory.store(&caller, &named, input).await?;
    serde_json::to_value(stored)
        .map_err(|error| Failure::new(Kind::Internal, format!("answer not written: {error}")))
}

async fn update_message(
    memory: &Memory,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let update: UpdateItem = read(arguments)?;
    let user_id = required_subject(&caller, update.user_id)?;
    let id = required("message_id", update.item_id)?;
    let updates = update.data.unwrap_or_default();
    let changes = intake::changes(updates, false, clock::now_micros())?;
    let item = memory.update(&caller, &user_id, &id, changes).await?;
    Ok(json!({"status": "updated", "user_id": user_id, "message_id": item.id}))
}

async fn update_item(
    memory: &Memory,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let update: UpdateItem = read(arguments)?;
    let user_id = required_subject(&caller, update.user_id)?;
    let id = required("item_id", update.item_id)?;
    let updates = update.data.unwrap_or_default();
    let changes = intake::changes(updates, true, clock::now_micros())?;
    value(&memory.update(&caller, &user_id, &id, changes).await?)
}

async fn remove_item(
    memory: &Memory,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<(String, String), Failure> {
    let of: OfItem = read(arguments)?;
    let user_id = required_subject(&caller, of.user_id)?;
    let id = required("item_id", of.item_id)?;
    match memory.remove(&caller, &user_id, Some(&id)).await?.count {
        0 => Err(Failure::not_found("item", id)),
        _ => Ok((user_id, id)),
    }
}

async fn delete_message(
    memory: &Memory,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let (user_id, id) = remove_item(memory, caller, arguments).await?;
    Ok(json!({"status": "deleted", "user_id": user_id, "message_id": id}))
}

async fn delete_item(
    memory: &Memory,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let (user_id, id) = remove_item(memory, caller, arguments).await?;
    Ok(json!({"status": "deleted", "user_id": user_id, "item_id": id}))
}

async fn get_message(
    memory: &Memory,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let of: OfItem = read(arguments)?;
    let id = required("message_id", of.item_id)?;
    let found = memory.find(&caller, of.user_id.as_deref(), &id).await?;
    found.as_ref().map_or(Ok(Value::Null), value)
}

async fn get_item(
    memory: &Memory,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let of: OfItem = read(arguments)?;
    let id = required("item_id", of.item_id)?;
    match memory.find(&caller, of.user_id.as_deref(), &id).await? {
        Some(item) => value(&item),
        None => Err(Failure::not_found("item", id)),
    }
}

async fn forget_user(
    memory: &Memory,
    caller: Principal,
    arguments: Map<String, Value>,
) -> Result<Value, Failure> {
    let of: OfItem = read(arguments)?;
    // Named, never guessed: it cannot be taken back.
    let user_id = required("user_id", of.user_id)?;
    let Removed { count: deleted, facts, .. } = memory.remove(&caller, &user_id, None).await?;
    let status = "forgotten";
    Ok(json!({"status": status, "user_id": user_id, "deleted": deleted, "facts": facts}))
}

/// Whose items, and of which conversation, a path and its caller mean.
fn filter(caller: &Principal, asked: &Asked) -> Result<Filter, Failure> {
    let named = asked.vars.get("user_id").cloned();
    if let Some(user_id) = &named {
        caller.must_act_for(user_id)?;
    }
    Ok(Filter {
        user_id: named.or_else(|| caller.confined_to().map(str::to_owned)),
        conversation_id: asked.vars.get("conversation_id").cloned(),
        members: asked.query.get("members").map(|ids| split(ids)).unwrap_or_default(),
    })
}

/// A comma list of ids.
fn split(ids: &str) -> Vec<String> {
    ids.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// The page a path and its query mean.
fn page(asked: &Asked) -> Result<Page, Failure> {
    let limit = match asked.vars.get("n") {
        Some(n) => Some(integer("limit", n)?),
        None => asked.integer("limit")?,
    };
    let limit = limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    if limit < 1 {
        return Err(Failure::new(Kind::InvalidParameter, "limit must be at least 1"));
    }
    let limit = limit.min(PAGE_ITEMS_MAX);
    match (asked.integer("after")?, asked.integer("before")?) {
        (Some(_), Some(_)) => {
            Err(Failure::new(Kind::InvalidParameter, "give after or before, not both"))
        }
        (Some(seq), None) => Ok(Page::After(seq, limit)),
        (None, Some(seq)) => Ok(Page::Before(seq, limit)),
        (None, None) => Ok(Page::Newest(limit)),
    }
}

async fn history(memory: &Memory, caller: Principal, asked: Asked) -> Result<Content, Failure> {
    let filter = filter(&caller, &asked)?;
    let items = memory.page(filter, page(&asked)?).await?;
    Ok(Content::Items(values(&items)?))
}

async fn history_live(
    memory: &Memory,
    caller: Principal,
    asked: Asked,
) -> Result<Content, Failure> {
    let filter = filter(&caller, &asked)?;
    let after = match asked.integer("after")? {
        Some(seq) => Some(seq),
        None => asked.last_event_id,
    };
    Ok(Content::Live(memory.follow(filter, after).await?))
}

async fn log_head(memory: &Memory, _: Principal, _: Asked) -> Result<Content, Failure> {
    Ok(Content::Items(vec![json!({ "seq": memory.head().await? })]))
}

async fn one_item(memory: &Memory, caller: Principal, asked: Asked) -> Result<Content, Failure> {
    let id = asked.var("item_id").to_owned();
    let owner = asked.vars.get("user_id").map(String::as_str);
    match memory.find(&caller, owner, &id).await? {
        Some(item) => Ok(Content::Items(vec![value(&item)?])),
        None => Err(Failure::not_found("item", id)),
    }
}
