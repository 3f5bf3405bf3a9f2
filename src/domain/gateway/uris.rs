//! Whose a resource is, by its URI.

/// The scheme of a URI (RFC 3986, section 3.1), if it has one.
#[must_use]
pub fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let mut chars = scheme.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_alphabetic());
    let goes_on = chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    (starts && goes_on).then_some(scheme)
}

/// Whether `uri` may be an expansion of the URI template `template` (RFC 6570): its fixed parts are
/// there in their order, and a plain variable `{x}` has something that is no slash. Other
/// expressions (`{+x}`, `{/x}`, `{?x}` and so on) may be anything, also nothing.
///
/// Takes time in proportion to the template's parts times the URI's length, whatever they are.
#[must_use]
pub fn expands(template: &str, uri: &str) -> bool {
    // The ends, in `uri`, of what the parts so far may stand for.
    let mut ends = vec![0];
    let mut rest = template;
    while !rest.is_empty() {
        let (fixed, expression) = match rest.split_once('{') {
            Some((fixed, after)) => match after.split_once('}') {
                Some((expression, after)) => {
                    rest = after;
                    (fixed, Some(expression))
                }
                None => (std::mem::take(&mut rest), None),
            },
            None => (std::mem::take(&mut rest), None),
        };
        ends.retain_mut(|end| {
            let fits = uri.get(*end..).is_some_and(|uri| uri.starts_with(fixed));
            *end += fixed.len();
            fits
        });
        if let Some(expression) = expression {
            ends = after_expression(expression, uri, &ends);
        }
    }
    ends.contains(&uri.len())
}

/// Where an expression that begins at one of `starts` (ascending) may end, ascending.
fn after_expression(expression: &str, uri: &str, starts: &[usize]) -> Vec<usize> {
    let is_plain = expression.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let mut begun = false;
    let mut ends = Vec::new();
    let places = uri.char_indices().map(|(at, c)| (at, Some(c))).chain([(uri.len(), None)]);
    let mut starts = starts.iter().peekable();
    for (at, c) in places {
        let starts_here = starts.next_if(|start| **start == at).is_some();
        if begun || (starts_here && !is_plain) {
            ends.push(at);
        }
        begun = (begun || starts_here) && !(is_plain && c == Some('/'));
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_what_the_standard_says() {
        for (uri, expected) in [
            ("memory://history/ann", Some("memory")),
            ("test+x:y", Some("test+x")),
            ("no scheme:x", None),
            ("1x:y", None),
            ("plain", None),
            (":", None),
        ] {
            assert_eq!(scheme(uri), expected, "{uri}");
        }
    }

    #[test]
    fn a_hostile_template_takes_no_time() {
        let template = "{+a}x".repeat(2000);
        assert!(!expands(&template, &"x".repeat(1999)));
        assert!(expands(&template, &"x".repeat(2000)));
    }

    #[test]
    fn templates_match_their_expansions() {
        for (template, uri, expected) in [
            ("a://b", "a://b", true),
            ("a://b", "a://bc", false),
            ("test://template/{id}/data", "test://template/123/data", true),
            ("test://template/{id}/data", "test://template//data", false),
            ("test://template/{id}/data", "test://template/1/2/data", false),
            ("h://{user}/c/{id}", "h://ann/c/x%2Fy", true),
            ("h://{user}", "h://ann/more", false),
            ("file:///{+path}", "file:///a/b/c", true),
            ("s://q{?x,y}", "s://q?x=1", true),
            ("s://q{?x,y}", "s://q", true),
            ("broken{", "broken{", true),
            ("{a}{b}", "x", false),
            ("{a}{b}", "xy", true),
            ("é{a}é", "éüé", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(expands(template, uri), expected, "{template} {uri}");
        }
    }
}
