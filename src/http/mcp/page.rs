//! Pages of a list, by a cursor that clients cannot read anything into.

use rmcp::{ErrorData, model::PaginatedRequestParams};

/// What a cursor begins with, so that a number typed by somebody is none.
const CURSOR_PREFIX: &str = "after-";

/// The page of `all` a request asks for, at most `size` entries (at least one), and the cursor of the
/// next page, if there is one.
///
/// # Errors
/// `-32602` for a cursor that was not given out for a list like this.
pub fn page<T>(
    all: Vec<T>,
    request: Option<&PaginatedRequestParams>,
    size: u32,
) -> Result<(Vec<T>, Option<String>), ErrorData> {
    let size = usize::try_from(size.max(1)).unwrap_or(usize::MAX);
    let total = all.len();
    let begin = match request.and_then(|request| request.cursor.as_deref()) {
        None => 0,
        Some(cursor) => cursor
            .strip_prefix(CURSOR_PREFIX)
            .and_then(|number| number.parse::<usize>().ok())
            .filter(|begin| *begin < total)
            .ok_or_else(|| ErrorData::invalid_params("this cursor leads nowhere", None))?,
    };
    let end = begin.saturating_add(size);
    let next = (end < total).then(|| format!("{CURSOR_PREFIX}{end}"));
    Ok((all.into_iter().skip(begin).take(size).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cursor: &str) -> PaginatedRequestParams {
        PaginatedRequestParams::default().with_cursor(Some(cursor.to_owned()))
    }

    #[test]
    fn pages_cover_the_list_once_and_in_order() {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let request = cursor.as_deref().map(at);
            let (mut part, next) = page((0..10).collect(), request.as_ref(), 3).unwrap();
            seen.append(&mut part);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert_eq!(page::<u8>(vec![], None, 0).unwrap(), (vec![], None));
    }

    #[test]
    fn cursors_of_nobody_are_refused() {
        for bad in ["", "3", "after-", "after-10", "after--1", "after-99999999999999999999"] {
            assert!(page(vec![0; 10], Some(&at(bad)), 3).is_err(), "{bad}");
        }
    }
}
