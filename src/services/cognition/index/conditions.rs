//! What must hold of an item for it to be told, whatever it says.

use diesel::{
    dsl::sql,
    expression::BoxableExpression,
    prelude::*,
    sql_types::{Bool, Double, Text},
    sqlite::Sqlite,
};
use serde_json::{Map, Value};

use crate::{
    contract::item::Item,
    domain::{failure::Failure, retrieval::Filter},
    services::cognition::index::{schema::indexed_items, store::time_of},
};

/// Metadata keys one question may name (count).
const METADATA_KEYS_MAX: usize = 16;

/// Conditions on items; absent ones always hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::services::cognition) struct Conditions {
    /// Of this conversation.
    pub(in crate::services::cognition) conversation: Option<String>,
    /// Of this role.
    pub(in crate::services::cognition) role: Option<String>,
    /// From this time on, in microseconds since the Unix epoch.
    pub(in crate::services::cognition) from: Option<i64>,
    /// Before this time, in microseconds since the Unix epoch.
    pub(in crate::services::cognition) to: Option<i64>,
    /// With these values in the metadata: texts, numbers, true, false or null.
    pub(in crate::services::cognition) metadata: Map<String, Value>,
}

type Condition = Box<dyn BoxableExpression<indexed_items::table, Sqlite, SqlType = Bool>>;

impl Conditions {
    /// Only items of this conversation.
    pub(in crate::services::cognition) fn of_conversation(conversation: Option<&str>) -> Self {
        Conditions { conversation: conversation.map(str::to_owned), ..Conditions::default() }
    }

    /// Metadata that is asked for, if it can be compared.
    ///
    /// # Errors
    /// `validation_error` for lists, objects, or too many keys.
    pub(in crate::services::cognition) fn metadata(
        wanted: Map<String, Value>,
    ) -> Result<Map<String, Value>, Failure> {
        let problem = if wanted.len() > METADATA_KEYS_MAX {
            Some(format!("names more than {METADATA_KEYS_MAX} keys"))
        } else if wanted.values().any(|value| value.is_array() || value.is_object()) {
            Some("can be compared with texts, numbers, true, false and null only".to_owned())
        } else {
            None
        };
        problem.map_or(Ok(wanted), |problem| {
            Err(Failure::invalid_field("metadata", problem, "value_error"))
        })
    }

    /// Whether they ask for a time at most.
    pub(super) fn are_of_time_alone(&self) -> bool {
        self.conversation.is_none() && self.role.is_none() && self.metadata.is_empty()
    }

    /// Whether an item fulfils them all.
    pub(super) fn hold_of(&self, item: &Item) -> bool {
        let conversation = item.conversation_id.as_deref();
        let at = time_of(item);
        self.conversation.as_deref().is_none_or(|wanted| conversation == Some(wanted))
            && self.role.as_deref().is_none_or(|wanted| item.role == wanted)
            && self.from.is_none_or(|from| at >= from)
            && self.to.is_none_or(|to| at < to)
            && self.metadata.iter().all(|(key, wanted)| {
                item.metadata.get(key).is_some_and(|value| same(value, wanted))
            })
    }

    /// All but metadata, for the rules.
    pub(super) fn filter(&self) -> Filter<'_> {
        Filter {
            session: self.conversation.as_deref(),
            role: self.role.as_deref(),
            // What is asked in microseconds is compared in milliseconds: rounded up, so that what
            // was said within the same millisecond before it stays out.
            from: self.from.map(up_to_millis),
            to: self.to.map(up_to_millis),
            ..Filter::default()
        }
    }

    /// The conditions on metadata, for the database.
    pub(super) fn on_metadata(&self) -> Vec<Condition> {
        self.metadata.iter().map(|(key, value)| on_metadata(key, value)).collect()
    }
}

fn up_to_millis(micros: i64) -> i64 {
    micros.div_euclid(1000) + i64::from(micros.rem_euclid(1000) > 0)
}

fn same(value: &Value, wanted: &Value) -> bool {
    match (value.as_f64(), wanted.as_f64()) {
        (Some(value), Some(wanted)) => value.total_cmp(&wanted).is_eq() || value == wanted,
        _ => value == wanted,
    }
}

fn on_metadata(key: &str, value: &Value) -> Condition {
    const PAIR: &str = "EXISTS (SELECT 1 FROM json_each(indexed_items.item, '$.metadata') AS pair \
                        WHERE pair.key = ";
    let pair = sql::<Bool>(PAIR).bind::<Text, _>(key.to_owned());
    match value {
        Value::String(text) => Box::new(
            pair.sql(" AND pair.type = 'text' AND pair.value = ")
                .bind::<Text, _>(text.clone())
                .sql(")"),
        ),
        Value::Number(number) => Box::new(
            pair.sql(" AND pair.type IN ('integer', 'real') AND pair.value = ")
                .bind::<Double, _>(number.as_f64().unwrap_or(f64::NAN))
                .sql(")"),
        ),
        Value::Bool(true) => Box::new(pair.sql(" AND pair.type = 'true')")),
        Value::Bool(false) => Box::new(pair.sql(" AND pair.type = 'false')")),
        Value::Null => Box::new(pair.sql(" AND pair.type = 'null')")),
        // Refused where it is asked for.
        Value::Array(_) | Value::Object(_) => Box::new(pair.sql(" AND 0)")),
    }
}

/// The conditions as one on rows of a user.
pub(super) fn rows_of(user_id: &str, conditions: &Conditions) -> Condition {
    let mut all: Condition = Box::new(indexed_items::user_id.eq(user_id.to_owned()));
    if let Some(conversation) = &conditions.conversation {
        let wanted =
            sql::<Bool>("indexed_items.conversation_id = ").bind::<Text, _>(conversation.clone());
        all = Box::new(all.and(wanted));
    }
    if let Some(role) = &conditions.role {
        all = Box::new(all.and(indexed_items::role.eq(role.clone())));
    }
    if let Some(from) = conditions.from {
        all = Box::new(all.and(indexed_items::at.ge(from)));
    }
    if let Some(to) = conditions.to {
        all = Box::new(all.and(indexed_items::at.lt(to)));
    }
    for condition in conditions.on_metadata() {
        all = Box::new(all.and(condition));
    }
    all
}
