//! The figures of a measurement, for people and for programs.

use serde_json::{Value, json};

use super::score::{CONTEXTS, DEPTHS, Figures, Report};
use crate::cli::table::Table;

const HEADER: [&str; 11] =
    ["", "N", "R@5", "R@10", "R@20", "R@50", "MRR", "nDCG@10", "250 w", "500 w", "1000 w"];

/// A row for each kind of question, in percent; then the times.
pub(super) fn table(report: &Report) -> String {
    let mut table = Table::new(HEADER);
    for (name, figures) in &report.rows {
        let Figures { questions, recall: [r5, r10, r20, r50], mrr, ndcg, within: [w1, w2, w3] } =
            *figures;
        let [r5, r10, r20, r50] = [r5, r10, r20, r50].map(percent);
        let [w1, w2, w3] = [w1, w2, w3].map(percent);
        let (mrr, ndcg) = (percent(mrr), percent(ndcg));
        let count = questions.to_string();
        table.row([name.clone(), count, r5, r10, r20, r50, mrr, ndcg, w1, w2, w3]);
    }
    let times = format!("latency ms: median {:.2}, p95 {:.2}\n", report.median, report.p95);
    format!("{}{times}", table.take())
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// The same as an object, shares from 0 to 1.
pub(super) fn json(report: &Report) -> Value {
    let row = |figures: &Figures| {
        let named = |prefix: &str, ats: &[usize], shares: &[f64]| {
            let pairs = ats.iter().zip(shares);
            pairs.map(|(at, share)| (format!("{prefix}{at}"), json!(share))).collect::<Vec<_>>()
        };
        let mut row = named("recall@", &DEPTHS, &figures.recall);
        row.extend(named("within_words_", &CONTEXTS, &figures.within));
        row.push(("questions".to_owned(), json!(figures.questions)));
        row.push(("mrr".to_owned(), json!(figures.mrr)));
        row.push(("ndcg@10".to_owned(), json!(figures.ndcg)));
        Value::Object(row.into_iter().collect())
    };
    let rows: serde_json::Map<String, Value> =
        report.rows.iter().map(|(name, figures)| (name.clone(), row(figures))).collect();
    json!({ "rows": rows, "latency_ms": { "median": report.median, "p95": report.p95 } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percents_for_people_and_shares_for_programs() {
        let figures = Figures { questions: 3, recall: [0.5, 0.75, 1.0, 1.0], ..Figures::default() };
        let report = Report { rows: vec![("plain".into(), figures)], median: 1.25, p95: 3.0 };
        let text = table(&report);
        assert!(text.contains("plain  3  50.0  75.0"), "{text}");
        assert!(text.ends_with("latency ms: median 1.25, p95 3.00\n"), "{text}");
        let json = json(&report);
        assert_eq!(json["rows"]["plain"]["recall@10"], json!(0.75));
        assert_eq!(json["latency_ms"]["p95"], json!(3.0));
    }
}
