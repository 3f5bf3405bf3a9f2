//! What each signal weighs in the ranking.

/// The weights of all signals, with defaults as measured (docs/retrieval.md).
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Share of a word that neighbours lend to an item, in percent: three, two and one item before,
    /// itself (100), one, two and three after.
    pub window: [u32; 7],
    /// How soon more of the same word stops to count (BM25's k1).
    pub saturation: f64,
    /// How much long windows are held against an item, 0 to 1 (BM25's b).
    pub length: f64,
    /// What words of asking (kind, many, often ...) weigh beside others.
    pub filler: f64,
    /// What a word weighs that only shares its beginning with a word of the question.
    pub kindred: f64,
    /// Factor for items of a person whom the question names.
    pub speaker: f64,
    /// Factor for items with an expression of time when the question asks for one.
    pub time_asked: f64,
    /// Factor for items of the very day the question names.
    pub same_day: f64,
    /// Factor for items that speak of the time the question names ("yesterday", said the day after).
    pub spoken_time: f64,
    /// Factor for items of the week after a day the question names.
    pub week_after: f64,
    /// Factor for items of the month the question names.
    pub same_month: f64,
    /// Factor for items of the year the question names.
    pub same_year: f64,
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
            window: [15, 30, 60, 100, 30, 20, 10],
            saturation: 1.2,
            length: 0.3,
            filler: 0.5,
            kindred: 0.2,
            speaker: 1.8,
            time_asked: 1.3,
            same_day: 2.0,
            spoken_time: 1.0,
            week_after: 1.4,
            same_month: 1.6,
            same_year: 1.2,
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
