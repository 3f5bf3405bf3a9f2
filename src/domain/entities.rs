//! Finds what a text mentions: addresses, dates, times, numbers people use, and names of people.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use self::EntityKind::{Date, Email, Money, Percentage, Person, Phone, Time, Url};
use crate::domain::text::{head, masked, names, stands_alone};

/// Only this many characters of a text are looked at.
pub const TEXT_CHARS_MAX: usize = 64 * 1024;
/// At most this many different entities of one kind are told.
pub const ENTITIES_PER_KIND_MAX: usize = 100;

/// What an entity is, in the order kinds are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntityKind {
    /// A mail address.
    Email,
    /// A web address.
    Url,
    /// A calendar day with its year.
    Date,
    /// A time of day.
    Time,
    /// A telephone number, international or American.
    Phone,
    /// An amount with its currency.
    Money,
    /// A share of a hundred.
    Percentage,
    /// Somebody's name.
    Person,
}

impl EntityKind {
    /// The kind's name in replies.
    pub fn as_str(self) -> &'static str {
        match self {
            Email => "email",
            Url => "url",
            Date => "date",
            Time => "time",
            Phone => "phone",
            Money => "money",
            Percentage => "percentage",
            Person => "person",
        }
    }
}

/// Something a text mentions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// What it is.
    pub kind: EntityKind,
    /// How it was first written, with single spaces.
    pub value: String,
}

/// What `text` mentions: kind by kind, within a kind in order of first appearance, each once.
pub fn entities(text: &str) -> Vec<Entity> {
    entities_of([text])
}

/// What all `texts` mention, as if they were one text.
pub fn entities_of<I>(texts: I) -> Vec<Entity>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let mut found: Vec<Entity> = Vec::new();
    let mut seen: HashSet<(EntityKind, String)> = HashSet::new();
    for text in texts {
        let mut rest = head(text.as_ref(), TEXT_CHARS_MAX).to_owned();
        for &(kind, ref finder) in FINDERS.iter() {
            let spans = spans(kind, finder, &rest);
            let known = found.iter().filter(|entity| entity.kind == kind).count();
            let fresh = spans
                .iter()
                .filter_map(|span| rest.get(span.clone()))
                .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
                .filter(|value| seen.insert((kind, identity(kind, value))))
                .map(|value| Entity { kind, value });
            found.extend(fresh.take(ENTITIES_PER_KIND_MAX.saturating_sub(known)));
            rest = masked(&rest, &spans);
        }
    }
    found.sort_by_key(|entity| entity.kind); // stable: first appearance stays first
    found
}

/// The patterns in the order they claim text: what one has claimed, the later ones read as NUL.
/// The first group that took part is the candidate; a match without one is passed over.
const PATTERNS: [(EntityKind, &str); 8] = [
    (Url, URL),
    (Email, EMAIL),
    (Date, DATE),
    (Time, TIME),
    (Money, MONEY),
    (Percentage, PERCENTAGE),
    (Phone, PHONE),
    (Person, PERSON),
];

const URL: &str = r#"(?i)\b((?:(?:https?|ftp|wss?)://[\w\[]|www\.\w)[^\s<>"“”«»`\x00]*)"#;
const EMAIL: &str = r"(\b\w[\w.%+-]*@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b)";

/// A time written onto its day with a T is passed over here and found by the next pattern.
const DATE: &str = r"(?ix)( \b\d{4}-\d\d-\d\d | \b\d{4}/\d\d/\d\d | \b\d\d?\.\d\d?\.\d{4}
    | \b\d\d?/\d\d?/(?:\d{4}|\d\d)
    | \b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?
        |sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?
      \s+\d\d?(?:st|nd|rd|th)?(?:,\s*|\s+)\d{4}
    | \b\d\d?(?:st|nd|rd|th|\.)?\s+(?:of\s+)?
      (?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?
        |sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?(?:,\s*|\s+)\d{4} )
    (?:t\d\d:?\d\d(?::?\d\d(?:[.,]\d+)?)?z?)?";

/// First what follows a date (with its offset), then a bare offset to pass over, then the rest.
const TIME: &str = r"(?ix) \x00T(\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)(?:z|[+-]\d\d(?::?\d\d)?)?
    | \x00\s(\d\d:\d\d:\d\d(?:\.\d+)?)(?:z|[+-]\d\d(?::?\d\d)?)
    | \+\d\d?:\d\d
    | (\b\d\d?(?::\d\d(?::\d\d(?:\.\d+)?)?)?\s?(?:[ap]m\b|[ap]\.m\.))
    | (\b\d\d?:\d\d(?::\d\d(?:\.\d+)?)?)";
const MONEY: &str = r"(?ix)( (?:\b(?:us|ca|au|nz|hk))?[$€£¥₹]\s?\d+(?:[.,]\d+)*
        (?:\s?(?:k|m|bn|thousand|million|billion|trillion)\b)?
        (?:\s?(?:usd|eur|gbp|chf|jpy|cad|aud|cny|inr)\b)?
    | \b(?:usd|eur|gbp|chf|jpy|cad|aud|cny|inr|sek|nok|dkk|pln)\s?\d+(?:[.,]\d+)*
    | \b\d+(?:[.,]\d+)*(?:\s?(?:k|thousand|million|billion|trillion))?
        (?:\s?[€£¥₹] | \$ | \s?(?:usd|eur|gbp|chf|jpy|cad|aud|cny|inr|sek|nok|dkk|pln
        |dollars?|euros?|cents?|yen|rupees?|pounds\x20sterling)\b) )";
const PERCENTAGE: &str = r"(?i)((?:\b\d+(?:[.,]\d+)*|\.\d+)\s?(?:%|percent\b|per cent\b|pct\b))";
const PHONE: &str = r"(?x)( \+\d{1,3}(?:\x20?\(0\))?(?:[\x20./-]?\(?\d{2,12}\)?){1,6}
    | (?:\b1[\x20.-])?(?:\([2-9]\d\d\)\x20?|\b[2-9]\d\d[\x20.-])\d{3}[\x20.-]\d{4}
      (?:\x20?(?:x|ext\.?)\x20?\d{1,5})? )";

/// A run of capitalised words, initials and titles; `names` decides what of it is a name.
const PERSON: &str = r"(?x)\b(
    (?:(?:Dr|Mrs?|Ms|Mx|Prof|Rev|Capt|Sen)\.|(?:\p{Lu}\.)+|\p{Lu}\w*(?:['’-]\w+)*)
    (?: [\x20\t\xa0]+ (?:(?:van|von|der|de|la|le|del|di|da|bin|ibn|al)[\x20\t\xa0]+){0,2}
        (?:(?:Dr|Mrs?|Ms|Mx|Prof|Rev|Capt|Sen)\.|(?:\p{Lu}\.)+|\p{Lu}\w*(?:['’-]\w+)*) )* )";

/// A pattern that does not compile finds nothing; a test keeps it from happening.
static FINDERS: LazyLock<Vec<(EntityKind, Regex)>> = LazyLock::new(|| {
    let compile = |(kind, pattern): (EntityKind, &str)| Some((kind, Regex::new(pattern).ok()?));
    PATTERNS.into_iter().filter_map(compile).collect()
});

/// What makes two values the same entity.
fn identity(kind: EntityKind, value: &str) -> String {
    match kind {
        Email | Url | Person => value.to_lowercase(),
        Date | Time | Phone | Money | Percentage => value.to_owned(),
    }
}

/// Where `text` holds entities of this kind.
fn spans(kind: EntityKind, finder: &Regex, text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    for captures in finder.captures_iter(text) {
        let (Some(whole), Some(hit)) = (captures.get(0), captures.iter().skip(1).flatten().next())
        else {
            continue;
        };
        let before = text.get(..whole.start()).unwrap_or_default();
        let after = text.get(whole.end()..).unwrap_or_default();
        let (value, start, mut end) = (hit.as_str(), hit.start(), hit.end());
        let holds = match kind {
            Email => true,
            Url => {
                end = start + url_len(value);
                true
            }
            Date => is_date(value) && stands_alone(before, after, "."),
            Time => is_time(value) && stands_alone(before, after, ":."),
            Phone => is_phone(value) && stands_alone(before, after, "-."),
            Money | Percentage => stands_alone(before, after, ".,"),
            Person => {
                let moved = |name: Range<usize>| start + name.start..start + name.end;
                spans.extend(names(value).into_iter().map(moved));
                false
            }
        };
        if holds {
            spans.push(start..end);
        }
    }
    spans
}

fn numbers(value: &str) -> Vec<u32> {
    let parts = value.split(|c: char| !c.is_ascii_digit());
    parts.filter_map(|digits| digits.parse().ok()).collect()
}

fn is_date(value: &str) -> bool {
    let day_fits = |month: u32, day: u32| match month {
        2 => (1..=29).contains(&day),
        4 | 6 | 9 | 11 => (1..=30).contains(&day),
        1..=12 => (1..=31).contains(&day),
        _ => false,
    };
    match numbers(value).as_slice() {
        [day, _year] => (1..=31).contains(day), // the month is a word
        [year, month, day] if *year > 31 => day_fits(*month, *day),
        [day, month, _year] if value.contains('.') => day_fits(*month, *day),
        [a, b, _year] => day_fits(*a, *b) || day_fits(*b, *a),
        _ => false,
    }
}

fn is_time(value: &str) -> bool {
    let halved = value.contains(['m', 'M']);
    match numbers(value).as_slice() {
        [0, ..] if halved => false,
        [hour, rest @ ..] => {
            *hour <= if halved { 12 } else { 23 } && rest.iter().take(2).all(|part| *part < 60)
        }
        [] => false,
    }
}

fn is_phone(value: &str) -> bool {
    let digits = value.chars().filter(char::is_ascii_digit).count();
    !value.starts_with('+') || (8..=15).contains(&digits)
}

/// How much of a URL candidate is the URL: not a bracket it did not open, no closing punctuation.
fn url_len(value: &str) -> usize {
    let (mut open, mut end) = (0_usize, value.len());
    for (at, c) in value.char_indices() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' if open > 0 => open -= 1,
            ')' | ']' | '}' => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let closing = |c: char| ".,;:!?'’…*([{".contains(c);
    let kept = value.get(..end).unwrap_or(value);
    kept.trim_end_matches(closing).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of `text => value | value`, a ¶ standing for a line break; the text has no other kinds.
    fn check(kinds: &[EntityKind], lines: &str) {
        for line in lines.trim().lines() {
            let (text, expected) = line.split_once("=>").unwrap();
            let found = entities(&text.trim().replace('¶', "\n"));
            let values: Vec<&str> = found.iter().map(|entity| entity.value.as_str()).collect();
            assert_eq!(values.join(" | "), expected.trim(), "{text:?}: {found:?}");
            assert!(found.iter().all(|entity| kinds.contains(&entity.kind)));
        }
    }

    #[test]
    fn every_kind_is_found_in_order_and_each_value_once() {
        assert_eq!(FINDERS.len(), PATTERNS.len(), "every pattern compiles");
        let text = "Ada Lovelace paid $5 (12%) on 2026-03-05 at 9am; call +49 30 901820, \
            see https://a.b/x or mail Ada@b.org, ada@B.org. Ada  LoveLace, ada, Ada  Lovelace";
        let found = entities(text);
        let kinds: Vec<&str> = found.iter().map(|entity| entity.kind.as_str()).collect();
        let order = "email url date time phone money percentage person";
        assert_eq!(kinds, order.split(' ').collect::<Vec<_>>());
        assert_eq!(entities_of(["9am x@y.org", "8am 9am X@y.org"]).len(), 3);
        assert!(entities_of(Vec::<&str>::new()).is_empty());
        assert!(entities("").is_empty());
    }

    #[test]
    fn finds_emails_and_urls() {
        let emails = "<bob.x+y@mail.example.com>. => bob.x+y@mail.example.com
            mailto:a@b.org, not a@b or @c.org => a@b.org
            b@x.org a@x.org B@X.org => b@x.org | a@x.org";
        check(&[Email], emails);
        let urls = r#"(see https://a.b/c?d=e#f). => https://a.b/c?d=e#f
            http://a.b/x_(y)! http://A.b/X_(y) => http://a.b/x_(y)
            [t](https://a.b/c), www.x.org... => https://a.b/c | www.x.org
            http:// http://. "https://u@h.org/2026-03-05" => https://u@h.org/2026-03-05
            **https://[::1]:80/a%20b** xhttp://a.b httpss://a => https://[::1]:80/a%20b"#;
        check(&[Url], urls);
    }

    #[test]
    fn finds_dates() {
        let lines = "2026-03-05, 12/31/2026; 31.12.2026. => 2026-03-05 | 12/31/2026 | 31.12.2026
            March 5, 2026 and 5 March 2026 => March 5, 2026 | 5 March 2026
            on Mar. 5th,¶2026 or 5th of may 2026 => Mar. 5th, 2026 | 5th of may 2026
            31/12/2026 2026/03/05 1/2/26 => 31/12/2026 | 2026/03/05 | 1/2/26
            2026-03-01/2026-03-05 => 2026-03-01 | 2026-03-05
            2026-13-05 2026-02-30 32.1.2026 13/13/2026 March 45, 2026 =>
            1.2.3.2026 12026-03-05 2026-03-051 v1.2.2026.4 2026-03-05x =>";
        check(&[Date], lines);
    }

    #[test]
    fn finds_times() {
        let lines = "14:30, 2:30 pm 9am 10 a.m. => 14:30 | 2:30 pm | 9am | 10 a.m.
            14:30-15:30, 23:59:59 => 14:30 | 15:30 | 23:59:59
            12 am 12:05PM => 12 am | 12:05PM
            25:00 12:60 13pm 0am 10.0.0.1:8080 1:2:3 UTC+02:00 12:30:45:50 =>";
        check(&[Time], lines);
    }

    #[test]
    fn takes_timestamps_apart() {
        let lines = "2026-03-05T14:30:00+02:00 => 2026-03-05 | 14:30:00
            2026-03-05 14:30:00-05:00 => 2026-03-05 | 14:30:00
            2026-03-05t14:30z. => 2026-03-05 | 14:30
            2026-03-05T14:30:00.123456Z => 2026-03-05 | 14:30:00.123456
            March 5, 2026 14:30 => March 5, 2026 | 14:30";
        check(&[Date, Time], lines);
    }

    #[test]
    fn finds_phones() {
        let lines = "call +49 30 901820. => +49 30 901820
            +441234567890 or +44 (0)20 7946 0958 => +441234567890 | +44 (0)20 7946 0958
            (555) 123-4567, 555-123-4567 => (555) 123-4567 | 555-123-4567
            +1 (555) 123-4567 1-800-555-0199 => +1 (555) 123-4567 | 1-800-555-0199
            555.123.4567 ext. 89 => 555.123.4567 ext. 89
            5551234567 4111 1111 1111 1111 4111-1111-1111-1111 =>
            1772700000000 550e8400-e29b-41d4-a716-446655440000 =>
            100 200 3000, 555-1234, +5, x+12345678, 12-555-123-4567 =>
            +12345678901234567 555-123-4567-8 =>";
        check(&[Phone], lines);
    }

    #[test]
    fn finds_money_and_percentages() {
        let money = "$1,200.50, €30. => $1,200.50 | €30
            30 EUR 5 dollars 20€ USD 7 => 30 EUR | 5 dollars | 20€ | USD 7
            $5 million, US$3, $20k/month, $9 USD => $5 million | US$3 | $20k | $9 USD
            $x 30x 5 europeans $ 1a =>";
        check(&[Money], money);
        let shares = "12.5%, 12 percent => 12.5% | 12 percent
            10-20% or .5% => 20% | .5%
            a12% 5%20 5 percentage =>";
        check(&[Percentage], shares);
    }

    #[test]
    fn finds_people() {
        let lines = "I met Ada Lovelace's friend. => Ada Lovelace
            Dr. Smith and Mrs Jones => Dr. Smith | Mrs Jones
            Ask Prof. Grace Hopper, please => Prof. Grace Hopper
            John F. Kennedy, J. R. R. Tolkien => John F. Kennedy | J. R. R. Tolkien
            Ludwig van Beethoven; Jean-Luc O’Brien => Ludwig van Beethoven | Jean-Luc O’Brien
            Yesterday Bob Smith saw Ian McKellen Friday => Bob Smith | Ian McKellen
            The Ada Lovelace Monday. Alan Turing Dr. Smith => Ada Lovelace | Alan Turing | Dr. Smith
            Hi Bob. Alice Jones¶Émile Zola => Alice Jones | Émile Zola
            Meeting Ada Lovelace. CEO Tim Cook => Ada Lovelace | Tim Cook";
        check(&[Person], lines);
    }

    #[test]
    fn finds_no_people_where_none_are() {
        let lines = "The Cortex. When Bob came, Cortex stopped. It’s Bob =>
            Acme Corp, Stanford University, Smith Barney Inc. =>
            Monday March April, New York, San Francisco, U.S. Army =>
            API Gateway GitHub Actions Python3 Rules Thanks Bob =>
            Apparently Bob left. Microsoft Word. Rust Programming. Invite Alice. New York Times =>
            Large Language Models Change Modern Software =>
            Dr. The, Mrs.¶¶Jones, A. Apples, Plan B. Thanks van Bob =>";
        check(&[Person], lines);
    }

    #[test]
    fn work_is_bounded() {
        let many: String = (0..500).map(|n| format!("u{n}@x.org ")).collect();
        assert_eq!(entities(&many).len(), ENTITIES_PER_KIND_MAX);
        assert_eq!(entities_of([&many, &many]).len(), ENTITIES_PER_KIND_MAX);
        let far = "ä ".repeat(TEXT_CHARS_MAX / 2) + "a@b.org";
        assert!(entities(&far).is_empty());
        for hostile in ["(", "http://a)", "A", "Aa ", "1.", "a@", "+1 ", "\0T", "a.b@", "Dr. "] {
            let found = entities(&hostile.repeat(TEXT_CHARS_MAX / hostile.len()));
            assert!(found.len() <= 1, "{hostile}");
        }
    }
}
