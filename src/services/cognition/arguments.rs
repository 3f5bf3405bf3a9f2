//! The bounds of what a caller asks for.

use crate::{
    backplane::{arguments::given, clock},
    contract::cognition::{LIMIT_DEFAULT, LIMIT_MAX, Wanted},
    domain::failure::Failure,
    services::cognition::index::Conditions,
};

/// Longest query, in characters.
pub(super) const QUERY_CHARS_MAX: usize = 10_000;

/// A query that is not too long.
///
/// # Errors
/// `validation_error` when it is.
pub(super) fn query(text: Option<String>) -> Result<Option<String>, Failure> {
    if text.as_ref().is_some_and(|text| text.chars().count() > QUERY_CHARS_MAX) {
        let message = format!("is longer than {QUERY_CHARS_MAX} characters");
        return Err(Failure::invalid_field("query", message, "value_error"));
    }
    Ok(text)
}

/// How many are told: [`LIMIT_DEFAULT`], or the wish held within 1 and [`LIMIT_MAX`].
pub(super) fn limit(wish: Option<i64>) -> usize {
    let Some(wish) = wish else {
        return LIMIT_DEFAULT;
    };
    usize::try_from(wish.max(1)).map_or(LIMIT_MAX, |wish| wish.min(LIMIT_MAX))
}

/// A budget of tokens: at least 1.
///
/// # Errors
/// `validation_error` when it is less.
pub(super) fn max_tokens(wish: Option<i64>) -> Result<Option<usize>, Failure> {
    let fits = |wish: i64| usize::try_from(wish).ok().filter(|tokens| *tokens > 0);
    match wish.map(|wish| fits(wish).ok_or(wish)) {
        None => Ok(None),
        Some(Ok(tokens)) => Ok(Some(tokens)),
        Some(Err(_)) => {
            Err(Failure::invalid_field("max_tokens", "must be at least 1", "value_error"))
        }
    }
}

/// What holds for every item.
///
/// # Errors
/// `validation_error` naming what cannot be understood.
pub(super) fn conditions(
    wanted: Wanted,
    conversation_id: Option<&str>,
) -> Result<Conditions, Failure> {
    let only = wanted.conversation_only.unwrap_or_default();
    if only && conversation_id.is_none() {
        let message = "names no conversation";
        return Err(Failure::invalid_field("conversation_only", message, "value_error"));
    }
    Ok(Conditions {
        conversation: conversation_id.filter(|_| only).map(str::to_owned),
        role: given(wanted.role),
        from: moment("from", given(wanted.from))?,
        to: moment("to", given(wanted.to))?,
        metadata: Conditions::metadata(wanted.metadata.unwrap_or_default())?,
    })
}

fn moment(name: &str, text: Option<String>) -> Result<Option<i64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let moment = clock::parse(&text);
    moment.map(Some).ok_or_else(|| Failure::invalid_field(name, "must be RFC 3339", "value_error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_held_within_its_bounds() {
        let wishes = [None, Some(-5), Some(0), Some(7), Some(101), Some(i64::MAX)];
        assert_eq!(wishes.map(limit), [10, 1, 1, 7, 100, 100]);
    }
}
