//! What is asked of an index: a text, and conditions on what may answer it.

/// A question.
#[derive(Clone, Copy, Default)]
pub struct Question<'a> {
    /// What is asked, in words.
    pub text: &'a str,
    /// Items at most (count).
    pub limit: usize,
    /// When it is asked, in milliseconds since the Unix epoch; the newest item's time when absent.
    pub now: Option<i64>,
    /// How much recency weighs against relevance, 0 to 1; [`super::Weights::recency`] when absent.
    pub recency_weight: Option<f64>,
    /// Only what passes may be found.
    pub filter: Filter<'a>,
    /// Items of this conversation are preferred.
    pub preferred_session: Option<&'a str>,
    /// People whom the question names are not taken for those who spoke.
    pub any_speaker: bool,
    /// Vectors to be fused with words.
    pub vectors: Option<Vectors<'a>>,
}

/// Conditions on an item; absent ones always hold.
#[derive(Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Of this conversation.
    pub session: Option<&'a str>,
    /// Of this role.
    pub role: Option<&'a str>,
    /// Of this sender, the name as it was prepared.
    pub sender: Option<&'a str>,
    /// From this time on, in milliseconds since the Unix epoch.
    pub from: Option<i64>,
    /// Before this time, in milliseconds since the Unix epoch.
    pub to: Option<i64>,
    /// Whatever else must hold of the item with this number in the log.
    pub allows: Option<&'a dyn Fn(i64) -> bool>,
}

/// How near items are to the question by their vectors.
#[derive(Clone, Copy)]
pub struct Vectors<'a> {
    /// The cosine of the item with this number in the log; `None` when it has no vector yet.
    pub cosine: &'a dyn Fn(i64) -> Option<f32>,
}

/// An item that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its number in the log.
    pub seq: i64,
    /// What it was ordered by, from 0 to 1: relevance beside the best (1 without recency), and
    /// recency as far as it was asked for.
    pub score: f64,
    /// How much of the question it has, from 0 to 1: comparable between questions, not a share.
    pub relevance: f64,
    /// How new it is, from just above 0 (oldest) to 1 (newest).
    pub recency: f64,
    /// Why it was found.
    pub reasons: Reasons,
}

/// Why an item was found, for programs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasons {
    /// Words of the question that it has, as they were asked, in the question's order.
    pub terms: Vec<String>,
    /// Further words of the question that its neighbours have.
    pub nearby: Vec<String>,
    /// It is of a person whom the question names.
    pub speaker: bool,
    /// It fits a time that the question names.
    pub date: bool,
    /// Recency had a part in its place.
    pub recency: bool,
    /// Vectors had a part in its place.
    pub vector: bool,
}

impl Reasons {
    /// The signals by name, in a fixed order: `terms`, `nearby`, `speaker`, `date`, `recency`,
    /// `vector`.
    #[must_use]
    pub fn signals(&self) -> Vec<&'static str> {
        let all = [
            ("terms", !self.terms.is_empty()),
            ("nearby", !self.nearby.is_empty()),
            ("speaker", self.speaker),
            ("date", self.date),
            ("recency", self.recency),
            ("vector", self.vector),
        ];
        all.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect()
    }
}
