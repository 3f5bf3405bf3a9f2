//! What speaks for an item beside its words: who said it, when, and what kind of text it is.

use super::{
    asked::Asked,
    index::{Entry, Index, wide},
    lexical::rarity,
    temporal::{Span, day_of},
    weights::Weights,
};

/// Of a longer span, not each day is a fitting day (days).
const DAY_LIKE_MAX: i32 = 7;
/// Of a longer span, not each month is a fitting month (days).
const MONTH_LIKE_MAX: i32 = 100;
/// What happened is told within so many days.
const TOLD_WITHIN_DAYS: i32 = 7;
/// More names in one item say no more.
const NAMES_ENOUGH: u8 = 3;

pub(super) struct Signals<'a> {
    index: &'a Index,
    asked: &'a Asked,
    weights: &'a Weights,
    preferred: Option<u32>,
}

/// How an item's time is to one that is asked about.
#[derive(Clone, Copy, PartialEq)]
struct Fit {
    within: bool,
    after: bool,
}

impl<'a> Signals<'a> {
    pub(super) fn new(
        index: &'a Index,
        asked: &'a Asked,
        weights: &'a Weights,
        preferred: Option<&str>,
    ) -> Self {
        let preferred = preferred.and_then(|name| index.sessions.known(name));
        Signals { index, asked, weights, preferred }
    }

    /// Adds what being of a time that is asked about is worth, as if the time were a word that the
    /// items of it have; so also an item without a word of the question is found by its date.
    /// Returns what it is worth at most.
    pub(super) fn date(&self, scores: &mut [f64]) -> f64 {
        let weights = self.weights;
        let mut most = 0.0;
        for span in self.asked.spans.iter().filter(|span| span.days() <= MONTH_LIKE_MAX) {
            let mut shares = vec![0.0; scores.len()];
            for (share, entry) in shares.iter_mut().zip(&self.index.entries) {
                let fit = times(*span, entry.at);
                *share = match fit {
                    Fit { within: true, after: _ } => 1.0,
                    Fit { within: false, after: true } => weights.date_after,
                    Fit { within: false, after: false } => 0.0,
                };
            }
            for (number, spoken) in &self.index.moments {
                if let Some(share) = shares.get_mut(wide(*number)).filter(|_| speaks(spoken, *span))
                {
                    *share += weights.date_spoken;
                }
            }
            let alive = shares.iter().zip(&self.index.entries).filter(|(_, entry)| entry.alive);
            let having = alive.filter(|(share, _)| **share > 0.0).count();
            let worth = weights.date * rarity(having, self.index.len());
            for (score, share) in scores.iter_mut().zip(shares) {
                *score += worth * share;
            }
            most += worth * (1.0 + weights.date_spoken);
        }
        most
    }

    /// What an item's score is multiplied with.
    pub(super) fn factor(&self, entry: &Entry, number: u32) -> f64 {
        let (weights, asked, traits) = (self.weights, self.asked, entry.traits);
        let mut factor = 1.0 + weights.telling * entry.telling;
        factor *= 1.0 - (1.0 - weights.asking) * f64::from(traits.asking) / 255.0;
        match asked.speakers.iter().position(|sender| *sender == entry.sender) {
            Some(0) => factor *= weights.speaker,
            Some(_) => factor *= weights.speaker_later,
            None => {}
        }
        if asked.role == Some(entry.role) {
            factor *= weights.role;
        }
        if asked.for_time && traits.time {
            factor *= weights.time_asked;
        }
        if asked.for_number && traits.number {
            factor *= weights.number_asked;
        }
        if asked.for_name {
            let names = f64::from(traits.names.min(NAMES_ENOUGH)) / f64::from(NAMES_ENOUGH);
            factor *= 1.0 + weights.name_asked * names;
        }
        if asked.for_title && traits.quoted {
            factor *= weights.title_asked;
        }
        if self.preferred == Some(entry.session) {
            factor *= weights.preferred;
        }
        factor * self.dated(entry, number)
    }

    /// Whether the item is of a time that is asked about, or speaks of it.
    pub(super) fn is_dated(&self, entry: &Entry, number: u32) -> bool {
        let fits = |span: &Span| {
            let fit = times(*span, entry.at);
            fit.within || speaks(self.spoken(number), *span)
        };
        self.asked.spans.iter().any(fits)
    }

    fn spoken(&self, number: u32) -> &[Span] {
        self.index.moments.get(&number).map_or(&[], Vec::as_slice)
    }

    fn dated(&self, entry: &Entry, number: u32) -> f64 {
        let weights = self.weights;
        let of = |span: &Span| {
            let fit = times(*span, entry.at);
            let within = if span.days() > MONTH_LIKE_MAX {
                weights.same_year
            } else if span.days() > DAY_LIKE_MAX {
                weights.same_month
            } else {
                weights.same_day
            };
            let by_time = match fit {
                Fit { within: true, after: _ } => within,
                Fit { within: false, after: true } => weights.week_after,
                Fit { within: false, after: false } => 1.0,
            };
            let spoken = span.days() <= MONTH_LIKE_MAX && speaks(self.spoken(number), *span);
            if spoken { by_time.max(weights.spoken) } else { by_time }
        };
        self.asked.spans.iter().map(of).fold(1.0, f64::max)
    }
}

/// How a time (milliseconds since the Unix epoch) is to a span.
fn times(span: Span, at: i64) -> Fit {
    let day = day_of(at);
    let own = Span { from: day, to: day.saturating_add(1) };
    let later = Span { from: span.to, to: span.to.saturating_add(TOLD_WITHIN_DAYS) };
    Fit { within: span.meets(own), after: span.days() <= DAY_LIKE_MAX && later.meets(own) }
}

/// Whether one of the times that an item speaks of, if not too wide, is in a span.
fn speaks(spoken: &[Span], span: Span) -> bool {
    spoken.iter().any(|moment| moment.days() <= MONTH_LIKE_MAX && moment.meets(span))
}
