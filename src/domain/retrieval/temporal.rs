//! Expressions of time in a text, as the days they mean: dates, months, "last Tuesday", "two weeks ago".

use jiff::{Span as Stretch, ToSpan as _, civil::Date};

use super::{
    calendar::{self, Unit},
    dates::{following, previous, simple, year_after},
};

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;
/// Of one text at most this many expressions are read.
pub const EXPRESSIONS_MAX: usize = 32;
/// A number of units that is more than this is no distance in a life (count).
const DISTANCE_MAX: i64 = 5000;

/// Days that are meant: from the first to before the last, since the Unix epoch (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first day.
    pub from: i32,
    /// The day after the last.
    pub to: i32,
}

impl Span {
    /// Whether they have a day in common.
    #[must_use]
    pub fn meets(self, other: Span) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// How many days.
    #[must_use]
    pub fn days(self) -> i32 {
        self.to.saturating_sub(self.from)
    }

    /// From the Monday before the first day, or that day, on.
    pub(super) fn week(self) -> Self {
        let monday = self.from.saturating_sub(self.from.saturating_add(3).rem_euclid(7));
        Span { from: monday, to: monday.saturating_add(7) }
    }

    pub(super) fn days_from(first: Date, days: i32) -> Self {
        let from = number(first);
        Span { from, to: from.saturating_add(days) }
    }

    pub(super) fn until(first: Date, end: Date) -> Self {
        Span { from: number(first), to: number(end) }
    }
}

/// The day a time is in, since the Unix epoch (UTC).
#[must_use]
pub fn day_of(at: i64) -> i32 {
    i32::try_from(at.div_euclid(DAY_MS)).unwrap_or(if at < 0 { i32::MIN } else { i32::MAX })
}

pub(super) fn number(date: Date) -> i32 {
    let epoch = Date::new(1970, 1, 1).unwrap_or(Date::ZERO);
    date.since(epoch).map_or(0, |span| span.get_days())
}

fn date_of(at: i64) -> Option<Date> {
    Date::new(1970, 1, 1)
        .ok()?
        .checked_add(Stretch::new().try_days(i64::from(day_of(at))).ok()?)
        .ok()
}

/// A word or number of the text, and what stands before it.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) capital: bool,
    pub(super) link: char,
}

/// The days a text speaks of, seen from `at` (milliseconds since the Unix epoch): in the text's
/// order, at most [`EXPRESSIONS_MAX`].
///
/// Weekdays, months and days without a year are those nearest before `at`, unless the text says
/// "next". A date that cannot be is not read.
#[must_use]
pub fn spans(text: &str, at: i64) -> Vec<Span> {
    let Some(now) = date_of(at) else { return Vec::new() };
    let tokens = tokens(text);
    let mut place = 0;
    let mut found: Vec<Span> = Vec::new();
    // "from .. to ..": the expression that opened it, until the one that closes it.
    let mut opened: Option<(Span, usize)> = None;
    let is = |place: usize, words: &[&str]| {
        tokens.get(place).is_some_and(|token| words.contains(&token.text.as_str()))
    };
    while place < tokens.len() && found.len() < EXPRESSIONS_MAX {
        let rest = tokens.get(place..).unwrap_or_default();
        let Some((span, used)) = expression(rest, now) else {
            place += 1;
            continue;
        };
        let opens = place.checked_sub(1).is_some_and(|before| is(before, OPENING));
        let begun = place;
        place += used.max(1);
        if let Some((first, begun)) = opened.take() {
            // "from March to May 2022": the year is said once, at the end.
            let seen_from_end = date_of(i64::from(span.to).saturating_mul(DAY_MS))
                .and_then(|end| expression(tokens.get(begun..)?, end))
                .map_or(first, |(again, _)| again);
            let from = if first.from < span.to { first.from } else { seen_from_end.from };
            found.push(Span { from: from.min(span.from), to: span.to });
        } else if opens && is(place, JOINING) {
            opened = Some((span, begun));
            place += 1;
        } else {
            found.push(span);
        }
    }
    found.extend(opened.map(|(span, _)| span));
    found
}

const OPENING: &[&str] = &["between", "from", "zwischen", "vom", "von", "entre", "du"];
const JOINING: &[&str] = &["and", "to", "until", "till", "through", "und", "bis", "et", "au"];

/// A distance in time from something that is no date: "two weeks before the move".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distance {
    /// What it is measured from, as it was written.
    pub event: String,
    count: i64,
    unit: Unit,
}

impl Distance {
    /// The distance a text speaks of first, if it does.
    #[must_use]
    pub fn of(text: &str, at: i64) -> Option<Self> {
        let now = date_of(at)?;
        let tokens = tokens(text);
        (0..tokens.len()).find_map(|place| {
            let rest = tokens.get(place..)?;
            let [count, unit, way, event @ ..] = rest else { return None };
            let (count, unit) = (calendar::count(&count.text)?, calendar::unit(&unit.text)?);
            let count = match way.text.as_str() {
                "before" | "vor" | "avant" => -count,
                "after" | "nach" => count,
                _ => return None,
            };
            if event.is_empty() || simple(event, now).is_some() {
                return None;
            }
            let words: Vec<&str> = event.iter().map(|token| token.text.as_str()).collect();
            Some(Distance { event: words.join(" "), count, unit })
        })
    }

    /// The days at this distance from `day` (since the Unix epoch).
    #[must_use]
    pub fn from(&self, day: i32) -> Option<Span> {
        moved(date_of(i64::from(day).saturating_mul(DAY_MS))?, self.count, self.unit)
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut open, mut link, mut before) = (false, ' ', ' ');
    for letter in text.chars() {
        // "2023年5月" has no spaces.
        let foreign = |one: char, other: char| one.is_ascii_digit() && !other.is_ascii();
        open &= !foreign(letter, before) && !foreign(before, letter);
        before = letter;
        if !letter.is_alphanumeric() {
            (open, link) = (false, letter);
            continue;
        }
        if !open {
            let capital = letter.is_uppercase();
            tokens.push(Token { text: String::new(), capital, link });
            (open, link) = (true, ' ');
        }
        if let Some(token) = tokens.last_mut() {
            token.text.extend(letter.to_lowercase());
        }
    }
    tokens
}

/// The expression a text begins with, and how many tokens it takes.
fn expression(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    shifted(tokens, now).or_else(|| simple(tokens, now))
}

/// "two weeks before 8 May", "the Sunday after 8 May", "two weeks ago", "vor zwei Wochen".
fn shifted(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    if tokens.first().is_some_and(|token| token.text == "the") {
        return shifted_from(tokens.get(1..)?, now).map(|(span, used)| (span, used + 1));
    }
    shifted_from(tokens, now)
}

fn shifted_from(tokens: &[Token], now: Date) -> Option<(Span, usize)> {
    let word = |at: usize| tokens.get(at).map(|token| token.text.as_str());
    if word(0)? == "vor" || (word(0)? == "il" && word(1) == Some("y") && word(2) == Some("a")) {
        let skip = if word(0) == Some("vor") { 1 } else { 3 };
        let (count, used) = calendar::count(word(skip)?).map(|count| (count, 1))?;
        let unit = calendar::unit(word(skip + used)?)?;
        return Some((moved(now, -count, unit)?, skip + used + 1));
    }
    if let Some(weekday) = calendar::weekday(word(0)?) {
        let back = match word(1)? {
            "before" => true,
            "after" => false,
            _ => return None,
        };
        let (anchor, used) = simple(tokens.get(2..)?, now)?;
        let anchor = date_of(i64::from(anchor.from).saturating_mul(DAY_MS))?;
        let day = if back { previous(anchor, weekday)? } else { following(anchor, weekday)? };
        return Some((Span::days_from(day, 1), 2 + used));
    }
    let (count, used) = match (word(0)?, word(1)) {
        ("a", Some("couple")) if word(2) == Some("of") => (2, 3),
        ("a", Some("few")) => (3, 2),
        ("few" | "several", _) => (3, 1),
        (first, _) => (calendar::count(first)?, 1),
    };
    let unit = calendar::unit(word(used)?)?;
    let (back, anchor, more) = match word(used + 1)? {
        "ago" | "back" | "earlier" => (true, now, 0),
        "before" | "prior" => {
            let skip = if word(used + 2) == Some("to") { 1 } else { 0 };
            let (span, more) = simple(tokens.get(used + 2 + skip..)?, now)?;
            (true, date_of(i64::from(span.from).saturating_mul(DAY_MS))?, more + skip)
        }
        "after" => {
            let (span, more) = simple(tokens.get(used + 2..)?, now)?;
            (false, date_of(i64::from(span.from).saturating_mul(DAY_MS))?, more)
        }
        _ => return None,
    };
    let span = moved(anchor, if back { -count } else { count }, unit)?;
    Some((span, used + 2 + more))
}

/// A day, or a stretch about as wide as the unit is rough.
pub(super) fn moved(from: Date, count: i64, unit: Unit) -> Option<Span> {
    if count.abs() > DISTANCE_MAX {
        return None;
    }
    let by = match unit {
        Unit::Day => Stretch::new().try_days(count).ok()?,
        Unit::Week => Stretch::new().try_weeks(count).ok()?,
        Unit::Month => Stretch::new().try_months(count).ok()?,
        Unit::Year => Stretch::new().try_years(count).ok()?,
    };
    let there = from.checked_add(by).ok()?;
    Some(match unit {
        Unit::Day => Span::days_from(there, 1),
        Unit::Week => Span::days_from(there.checked_sub(3.days()).ok()?, 7),
        Unit::Month => Span::days_from(there.checked_sub(15.days()).ok()?, 31),
        Unit::Year => Span::until(there.first_of_year(), year_after(there)?),
    })
}
