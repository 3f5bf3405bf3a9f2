//! Searching an index: the words of a question over windows, times what else speaks for an item.

use super::{
    asked::Asked,
    best::{Best, Candidate},
    index::{Entry, Index, NOBODY},
    lexical::Lexical,
    question::{Filter, Found, Question, Reasons},
    signals::Signals,
    temporal::{Distance, Span, day_of},
    weights::Weights,
};

impl Index {
    /// The items that answer a question best, best first, equal ones newest first.
    ///
    /// Without a word that is known, and without a person or time that it names, nothing is found; see
    /// [`Index::newest`]. The time taken grows with the items that have a word of the question.
    #[must_use]
    pub fn search(&self, question: &Question<'_>, weights: &Weights) -> Vec<Found> {
        let now = question.now.or(self.newest_at()).unwrap_or_default();
        let question = &Question { now: Some(now), ..*question };
        let mut asked = Asked::of(question, now, self);
        if let Some(distance) = asked.distance.take() {
            asked.spans.extend(self.at_distance(&distance, question, weights));
        }
        Search { index: self, asked: &asked, question, weights }.run()
    }

    /// The days at a distance from an event: from the day of the item that tells of it best, or from
    /// the day that it says the event is.
    fn at_distance(
        &self,
        distance: &Distance,
        question: &Question<'_>,
        weights: &Weights,
    ) -> Option<Span> {
        let event = Question { text: &distance.event, limit: 1, ..*question };
        // Its own distance from something else, if it has one, is not followed.
        let asked = Asked::of(&event, question.now.unwrap_or_default(), self);
        let search = Search { index: self, asked: &asked, question: &event, weights };
        let best = search.run().into_iter().next()?;
        let number = self.number_of(best.seq)?;
        let spoken = self.moments.get(&number).and_then(|moments| moments.first());
        let told = || self.entry(number).map(|entry| day_of(entry.at));
        distance.from(spoken.map(|span| span.from).or_else(told)?)
    }

    /// The newest items that pass, newest first.
    #[must_use]
    pub fn newest(&self, filter: &Filter<'_>, limit: usize) -> Vec<i64> {
        let passes = Passing::of(filter, self);
        let mut best = Best::new(limit);
        for (number, entry) in (0_u32..).zip(&self.entries) {
            if entry.alive && passes.entry(entry) {
                best.offer(Candidate::new(0.0, number, entry));
            }
        }
        best.ordered().into_iter().map(|candidate| candidate.seq).collect()
    }
}

/// A filter with its names looked up.
struct Passing<'a> {
    filter: Filter<'a>,
    session: Option<u32>,
    role: Option<u32>,
    sender: Option<u32>,
}

impl<'a> Passing<'a> {
    fn of(filter: &Filter<'a>, index: &Index) -> Self {
        // A name that nobody has is a number that nobody has.
        let session = filter.session.map(|name| index.sessions.known(name).unwrap_or(NOBODY));
        let role = filter.role.map(|name| index.roles.known(name).unwrap_or(NOBODY));
        let sender = filter.sender.map(|name| index.senders.known(name).unwrap_or(NOBODY));
        Passing { filter: *filter, session, role, sender }
    }

    fn entry(&self, entry: &Entry) -> bool {
        self.session.is_none_or(|session| session == entry.session)
            && self.role.is_none_or(|role| role == entry.role)
            && self.sender.is_none_or(|sender| sender == entry.sender)
            && self.filter.from.is_none_or(|from| from <= entry.at)
            && self.filter.to.is_none_or(|to| entry.at < to)
            && self.filter.allows.is_none_or(|allows| allows(entry.seq))
    }
}

struct Search<'a> {
    index: &'a Index,
    asked: &'a Asked,
    question: &'a Question<'a>,
    weights: &'a Weights,
}

impl Search<'_> {
    fn run(&self) -> Vec<Found> {
        let passes = Passing::of(&self.question.filter, self.index);
        let signals =
            Signals::new(self.index, self.asked, self.weights, self.question.preferred_session);
        let mut lexical = Lexical::new(self.index, self.weights);
        for term in &self.asked.terms {
            lexical.weigh(term);
        }
        let nothing = lexical.scores.iter().all(|score| *score <= 0.0);
        if nothing && !(self.asked.spans.is_empty() && self.asked.speakers.is_empty()) {
            lexical.scores.fill(NAMED_ONLY);
        }
        lexical.whole += signals.date(&mut lexical.scores);
        let fused = self.fuse(&mut lexical.scores, &passes);
        let mut judged: Vec<Candidate> = Vec::new();
        for (number, (entry, score)) in
            (0_u32..).zip(self.index.entries.iter().zip(&lexical.scores))
        {
            if *score > 0.0 && entry.alive && passes.entry(entry) {
                judged.push(Candidate::new(score * signals.factor(entry, number), number, entry));
            }
        }
        self.ordered(judged, &lexical, &signals, fused)
    }

    /// The best of those judged, with recency as far as it counts.
    fn ordered(
        &self,
        judged: Vec<Candidate>,
        lexical: &Lexical<'_>,
        signals: &Signals<'_>,
        fused: bool,
    ) -> Vec<Found> {
        let recency = self.question.recency_weight.unwrap_or(self.weights.recency);
        let recency = if recency.is_nan() { self.weights.recency } else { recency.clamp(0.0, 1.0) };
        let top = judged.iter().map(|candidate| candidate.raw).fold(f64::MIN_POSITIVE, f64::max);
        let place = |number: u32| {
            let entry = self.index.entry(number);
            entry.map_or(0.0, |entry| self.index.recency(entry))
        };
        let mut best = Best::new(self.question.limit);
        for mut candidate in judged {
            let recent = if recency > 0.0 { recency * place(candidate.number) } else { 0.0 };
            candidate.score = (1.0 - recency) * candidate.raw / top + recent;
            best.offer(candidate);
        }
        let ideal = if fused { 1.0 + self.weights.vector } else { lexical.whole.max(1.0) };
        let tell = |candidate: Candidate| {
            let entry = self.index.entry(candidate.number)?;
            let mut reasons = Reasons {
                speaker: self.asked.speakers.contains(&entry.sender),
                date: signals.is_dated(entry, candidate.number),
                recency: recency > 0.0,
                vector: fused,
                ..Reasons::default()
            };
            for term in &self.asked.terms {
                let (own, near) = lexical.has(term, candidate.number);
                let list = if own { &mut reasons.terms } else { &mut reasons.nearby };
                if (own || near) && list.last() != Some(&term.plain) {
                    list.push(term.plain.clone());
                }
            }
            Some(Found {
                seq: candidate.seq,
                score: candidate.score,
                relevance: candidate.raw / (candidate.raw + ideal),
                recency: place(candidate.number),
                reasons,
            })
        };
        best.ordered().into_iter().filter_map(tell).collect()
    }

    /// Adds what vectors say, each side scaled to its range over the items that pass (min-max sum);
    /// whether they had a say.
    fn fuse(&self, scores: &mut [f64], passes: &Passing<'_>) -> bool {
        let Some(vectors) = self.question.vectors else { return false };
        let cosine = |entry: &Entry| {
            let passing = entry.alive && passes.entry(entry);
            let cosine = if passing { (vectors.cosine)(entry.seq) } else { None };
            cosine.map(f64::from).filter(|cosine| cosine.is_finite())
        };
        let cosines: Vec<Option<f64>> = self.index.entries.iter().map(cosine).collect();
        let known = || cosines.iter().flatten().copied();
        let (low, high) = (known().fold(f64::MAX, f64::min), known().fold(f64::MIN, f64::max));
        if low >= high {
            return false;
        }
        let passing = |(_, entry): &(f64, &Entry)| entry.alive && passes.entry(entry);
        let pairs = scores.iter().copied().zip(&self.index.entries);
        let top = pairs.filter(passing).map(|(score, _)| score).fold(0.0, f64::max);
        for (score, cosine) in scores.iter_mut().zip(&cosines) {
            let lexical = if top > 0.0 { *score / top } else { 0.0 };
            let near = cosine.map_or(0.0, |cosine| (cosine - low) / (high - low));
            *score = lexical + self.weights.vector * near;
        }
        true
    }
}

/// What every item has of a question that names a person or a time, and nothing else that is known.
const NAMED_ONLY: f64 = 0.01;
