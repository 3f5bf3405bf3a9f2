//! Long lists in pages, with marks that only say where to go on.

use rmcp::{ErrorData, model::PaginatedRequestParams};

/// How long a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Entries of one page at most; at least 1.
    pub entries_max: usize,
}

impl Pages {
    /// One page of `all`, and the mark of the next one.
    ///
    /// # Errors
    /// `-32602` for a mark that is none of ours.
    pub fn of<T: Clone>(
        self,
        all: &[T],
        asked: Option<&PaginatedRequestParams>,
    ) -> Result<(Vec<T>, Option<String>), ErrorData> {
        let begin = match asked.and_then(|asked| asked.cursor.as_deref()) {
            None => 0,
            Some(cursor) => place(cursor)
                .filter(|begin| *begin < all.len())
                .ok_or_else(|| ErrorData::invalid_params("this cursor is not known here", None))?,
        };
        let end = begin.saturating_add(self.entries_max.max(1)).min(all.len());
        let next = (end < all.len()).then(|| format!("at-{end}"));
        Ok((all.get(begin..end).unwrap_or_default().to_vec(), next))
    }
}

fn place(cursor: &str) -> Option<usize> {
    cursor.strip_prefix("at-")?.parse().ok().filter(|at| *at > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once() {
        let all: Vec<usize> = (0..10).collect();
        let pages = Pages { entries_max: 4 };
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let asked = PaginatedRequestParams::default().with_cursor(cursor);
            let (page, next) = pages.of(&all, Some(&asked)).unwrap();
            seen.extend(page);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
        assert_eq!(pages.of::<usize>(&[], None).unwrap(), (vec![], None));
    }

    #[test]
    fn a_strange_mark_is_refused() {
        for strange in ["", "at-0", "at-10", "at--1", "7", "at-x"] {
            let asked = PaginatedRequestParams::default().with_cursor(Some(strange.to_owned()));
            assert!(Pages { entries_max: 4 }.of(&[0; 10], Some(&asked)).is_err(), "{strange:?}");
        }
    }
}
