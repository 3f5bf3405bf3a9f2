//! What each signal weighs in the ranking.

/// Neighbours on each side that can lend words (items).
pub(super) const REACH: usize = 6;

/// The weights of all signals, with defaults as measured (docs/retrieval.md).
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Share of a word that earlier neighbours lend to an item, in percent, the nearest first.
    pub before: [u32; REACH],
    /// What the nearest earlier neighbour lends instead when it is a question of someone else.
    pub answer: u32,
    /// Share of a word that later neighbours lend to an item, in percent, the nearest first.
    pub after: [u32; REACH],
    /// Neighbours further apart than this lend nothing (hours).
    pub gap: u32,
    /// How soon more of the same word stops to count (BM25's k1).
    pub saturation: f64,
    /// How much long windows are held against an item, 0 to 1 (BM25's b).
    pub length: f64,
    /// What words of asking (kind, many, often ...) weigh beside others.
    pub filler: f64,
    /// What a word weighs that is one slip away from a word nobody used.
    pub repaired: f64,
    /// What a word weighs that only shares its beginning with a word of the question.
    pub kindred: f64,
    /// Factor for items of the person whom the question names first.
    pub speaker: f64,
    /// Factor for items of others whom the question names.
    pub speaker_later: f64,
    /// Factor for items of the user when the question says "I", of the assistant when it says "you".
    pub role: f64,
    /// Factor for items with an expression of time when the question asks for one.
    pub time_asked: f64,
    /// Factor for items of the day (or few days) the question names.
    pub same_day: f64,
    /// Factor for items of the week after them: what happened is told later.
    pub week_after: f64,
    /// Factor for items of the month (or several) the question names.
    pub same_month: f64,
    /// Factor for items of the year the question names.
    pub same_year: f64,
    /// Factor for items that speak of the time the question names ("yesterday", said a day later).
    pub spoken: f64,
    /// What being of the time the question names is worth as if it were a word of it.
    pub date: f64,
    /// What speaking of that time is worth beside being of it.
    pub date_spoken: f64,
    /// What being of the week after it is worth beside being of it.
    pub date_after: f64,
    /// Factor for items with a number when the question asks how many.
    pub number_asked: f64,
    /// Most that names within an item add when the question asks who, where or which.
    pub name_asked: f64,
    /// Factor for items with something quoted when the question asks for a title.
    pub title_asked: f64,
    /// Factor for an item that is nothing but questions.
    pub asking: f64,
    /// What the logarithm of an item's length adds.
    pub telling: f64,
    /// Factor for items of the conversation that is preferred.
    pub preferred: f64,
    /// How much recency weighs when the caller does not say, 0 to 1.
    pub recency: f64,
    /// What vectors weigh beside words.
    pub vector: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Weights {
            before: [60, 30, 15, 12, 8, 5],
            answer: 100,
            after: [30, 20, 10, 0, 0, 0],
            gap: 6,
            saturation: 1.2,
            length: 0.5,
            filler: 0.5,
            repaired: 0.6,
            kindred: 0.2,
            speaker: 1.8,
            speaker_later: 1.6,
            role: 1.2,
            time_asked: 1.3,
            same_day: 1.4,
            week_after: 1.2,
            same_month: 1.3,
            same_year: 1.2,
            spoken: 1.3,
            date: 0.8,
            date_spoken: 1.0,
            date_after: 0.3,
            number_asked: 1.15,
            name_asked: 0.5,
            title_asked: 1.5,
            asking: 0.7,
            telling: 0.1,
            preferred: 1.5,
            recency: 0.0,
            vector: 1.0,
        }
    }
}
