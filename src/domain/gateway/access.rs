//! Who may see and use what of which upstream: the first rule that fits decides.

use crate::domain::principal::Principal;

/// One rule. Each pattern is a name, or has `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Users' ids, or `service:NAME` for services.
    pub principals: Vec<String>,
    /// Upstreams, by name.
    pub upstreams: Vec<String>,
    /// Tools, prompts and resources (by URI), by the upstream's own names.
    pub things: Vec<String>,
    /// Whether what fits is allowed, else refused.
    pub allows: bool,
}

/// All rules; with none, everyone may use everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    /// Whether `principal` may see and use `thing` of `upstream`. Where there are rules and none
    /// fits, it may not.
    #[must_use]
    pub fn allow(&self, principal: &str, upstream: &str, thing: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        self.0
            .iter()
            .find(|rule| {
                any(&rule.principals, principal)
                    && any(&rule.upstreams, upstream)
                    && any(&rule.things, thing)
            })
            .is_some_and(|rule| rule.allows)
    }
}

/// What a principal is called in rules.
#[must_use]
pub fn name_of(principal: &Principal) -> String {
    match principal {
        Principal::User { id, .. } => id.clone(),
        Principal::Service { name } => format!("service:{name}"),
    }
}

fn any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| fits(pattern, name))
}

/// Whether `name` is what `pattern` says, with `*` for any run of characters, none included.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The first place it fits leaves most for those that follow.
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(principal: &str, upstream: &str, thing: &str, allows: bool) -> Rule {
        let one = |text: &str| vec![text.to_owned()];
        Rule { principals: one(principal), upstreams: one(upstream), things: one(thing), allows }
    }

    #[test]
    fn patterns_have_stars_anywhere() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "a", false),
            ("ab*ba", "aba", false),
            ("a*b*c", "a_b_b_c", true),
            ("a*b*c", "acb", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_none_refuses() {
        let rules = Rules(vec![
            rule("ann", "files", "delete_*", false),
            rule("*", "files", "*", true),
            rule("service:*", "*", "*", true),
        ]);
        assert!(!rules.allow("ann", "files", "delete_all"));
        assert!(rules.allow("ann", "files", "read"));
        assert!(rules.allow("bob", "files", "delete_all"));
        assert!(!rules.allow("bob", "shell", "run"));
        assert!(rules.allow("service:cognition", "shell", "run"));
        assert!(Rules::default().allow("bob", "shell", "run"));
    }
}
