//! How good answers are: recall, MRR and nDCG over questions, and evidence within so many words.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::data::{Data, Question};

/// The depths at which recall is told (items).
pub const DEPTHS: [usize; 4] = [5, 10, 20, 50];
/// The sizes of a context at which evidence is told (words).
pub const CONTEXTS: [usize; 3] = [250, 500, 1000];
/// The depth of nDCG (items).
const GAIN_DEPTH: usize = 10;
/// The name of the row of all questions that are not adversarial.
pub const OVERALL: &str = "overall";

/// What was found for a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The question's id.
    pub question: String,
    /// Ids of turns, best first.
    pub ranked: Vec<String>,
    /// How long it took.
    pub milliseconds: f64,
}

/// Averages over questions, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// How many questions.
    pub questions: usize,
    /// Share of the evidence among the first, for each of [`DEPTHS`].
    pub recall: [f64; 4],
    /// One through the place of the first evidence.
    pub mrr: f64,
    /// Binary gain, logarithmic discount, against all evidence first, over ten.
    pub ndcg: f64,
    /// Share of the evidence within the first words, for each of [`CONTEXTS`]; a turn counts as
    /// long as its last word is within.
    pub within: [f64; 3],
}

/// A whole measurement.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rows by name: [`OVERALL`], then the kinds of questions; adversarial ones are in their own
    /// only.
    pub rows: Vec<(String, Figures)>,
    /// The median of the times (milliseconds).
    pub median: f64,
    /// The time that 95 of 100 stay within (milliseconds).
    pub p95: f64,
}

impl Report {
    /// Scores answers. A question without an answer has found nothing; one without evidence is not
    /// counted.
    #[must_use]
    pub fn of(data: &Data, answers: &[Answer]) -> Self {
        let turns = data.turns.values().flatten();
        let words: HashMap<&str, usize> =
            turns.map(|turn| (turn.id.as_str(), turn.words())).collect();
        let by_question: HashMap<&str, &Answer> =
            answers.iter().map(|answer| (answer.question.as_str(), answer)).collect();
        let mut overall = Vec::new();
        let mut kinds: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
        for question in data.questions.iter().filter(|question| !question.gold.is_empty()) {
            let ranked = by_question.get(question.qid.as_str()).map(|answer| &answer.ranked[..]);
            let figures = judge(question, ranked.unwrap_or_default(), &words);
            kinds.entry(&question.category).or_default().push(figures);
            if !question.adversarial {
                overall.push(figures);
            }
        }
        let mut rows = vec![(OVERALL.to_owned(), mean(&overall))];
        rows.extend(kinds.into_iter().map(|(kind, all)| (kind.to_owned(), mean(&all))));
        let mut times: Vec<f64> = answers.iter().map(|answer| answer.milliseconds).collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times.get(times.len() * percent / 100).copied();
        Report { rows, median: at(50).unwrap_or_default(), p95: at(95).unwrap_or_default() }
    }

    /// The figures of a row; `None` when there is no such row.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<Figures> {
        self.rows.iter().find(|(row, _)| row == name).map(|(_, figures)| *figures)
    }
}

/// One question. An id counts at its first place only.
fn judge(question: &Question, ranked: &[String], words: &HashMap<&str, usize>) -> Figures {
    let gold: BTreeSet<&str> = question.gold.iter().map(String::as_str).collect();
    let share = 1.0 / number(gold.len());
    let mut figures = Figures { questions: 1, ..Figures::default() };
    let (mut seen, mut read) = (BTreeSet::new(), 0_usize);
    let mut gain = 0.0;
    let first_places = ranked.iter().filter(|id| seen.insert(id.as_str()));
    for (place, id) in (1_usize..).zip(first_places) {
        read = read.saturating_add(words.get(id.as_str()).copied().unwrap_or_default());
        if !gold.contains(id.as_str()) {
            continue;
        }
        for (recall, depth) in figures.recall.iter_mut().zip(DEPTHS) {
            *recall += if place <= depth { share } else { 0.0 };
        }
        for (within, most) in figures.within.iter_mut().zip(CONTEXTS) {
            *within += if read <= most { share } else { 0.0 };
        }
        if figures.mrr == 0.0 {
            figures.mrr = 1.0 / number(place);
        }
        gain += if place <= GAIN_DEPTH { discounted(place) } else { 0.0 };
    }
    figures.ndcg = gain / (1..=gold.len().min(GAIN_DEPTH)).map(discounted).sum::<f64>();
    figures
}

fn discounted(place: usize) -> f64 {
    1.0 / (number(place) + 1.0).log2()
}

fn mean(all: &[Figures]) -> Figures {
    let mut sum = Figures { questions: all.len(), ..Figures::default() };
    let weight = 1.0 / number(all.len().max(1));
    for one in all {
        let pairs = sum.recall.iter_mut().zip(one.recall);
        for (total, part) in pairs.chain(sum.within.iter_mut().zip(one.within)) {
            *total += part * weight;
        }
        sum.mrr += one.mrr * weight;
        sum.ndcg += one.ndcg * weight;
    }
    sum
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    fn question(qid: &str, gold: &[&str], adversarial: bool) -> Question {
        Question {
            qid: qid.to_owned(),
            conv: "c".to_owned(),
            question: String::new(),
            category: if adversarial { "adversarial" } else { "plain" }.to_owned(),
            adversarial,
            gold: gold.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    fn ids(list: &[&str]) -> Vec<String> {
        list.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn repeats_count_once_and_gain_is_discounted_by_place() {
        let ranked = ids(&["x", "a", "a", "y", "b"]);
        let words = HashMap::from([("x", 200), ("a", 50), ("y", 300), ("b", 10)]);
        let figures = judge(&question("1", &["a", "b"], false), &ranked, &words);
        near(figures.recall[0], 1.0);
        near(figures.mrr, 0.5);
        let ideal = 1.0 + 1.0 / 3_f64.log2();
        near(figures.ndcg, (1.0 / 3_f64.log2() + 1.0 / 5_f64.log2()) / ideal);
        assert_eq!(figures.within, [0.5, 0.5, 1.0]);
    }

    #[test]
    fn what_is_not_answered_scores_nothing_and_adversarial_questions_stand_apart() {
        let questions = vec![
            question("1", &["a"], false),
            question("2", &["b"], true),
            question("3", &[], false),
            question("4", &["b"], false),
        ];
        let data = Data { turns: BTreeMap::new(), questions };
        let answer = Answer { question: "1".into(), ranked: ids(&["a"]), milliseconds: 2.0 };
        let report = Report::of(&data, &[answer]);
        let overall = report.row(OVERALL).unwrap();
        assert_eq!(overall.questions, 2);
        near(overall.recall[1], 0.5);
        near(report.row("adversarial").unwrap().recall[1], 0.0);
        near(report.p95, 2.0);
    }
}
