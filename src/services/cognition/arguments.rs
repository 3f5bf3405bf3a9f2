//! The bounds of what a caller asks for.

use crate::{
    contract::cognition::{LIMIT_DEFAULT, LIMIT_MAX},
    domain::failure::Failure,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_held_within_its_bounds() {
        let wishes = [None, Some(-5), Some(0), Some(7), Some(101), Some(i64::MAX)];
        assert_eq!(wishes.map(limit), [10, 1, 1, 7, 100, 100]);
    }
}
