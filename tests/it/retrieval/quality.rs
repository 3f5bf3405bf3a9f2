//! How much of the evidence is found, on data whose answers are known.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use cortex::{
    cli::eval::{
        data::Data,
        local,
        score::{Figures, OVERALL, Report},
    },
    domain::retrieval::Weights,
};

/// Ranking is the same everywhere; a change of the rules that costs more than this is seen.
const TOLERANCE: f64 = 0.01;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn measured(place: &Path, weights: &Weights) -> Report {
    let data = Data::read(place).unwrap();
    Report::of(&data, &local::answers(&data, weights))
}

fn at_least(name: &str, figure: f64, least: f64) {
    assert!(figure >= least - TOLERANCE, "{name} is {figure:.3}, and was {least:.3}");
}

#[test]
fn invented_talk_in_seven_languages_is_found() {
    let report = measured(&root().join("tests/data/retrieval"), &Weights::default());
    let Figures { questions, recall, mrr, ndcg, within } = report.row(OVERALL).unwrap();
    assert_eq!(questions, 72);
    at_least("recall@5", recall[0], 0.924);
    at_least("recall@10", recall[1], 0.931);
    at_least("MRR", mrr, 0.780);
    at_least("nDCG@10", ndcg, 0.810);
    at_least("evidence within 500 words", within[1], 0.972);
}

#[test]
fn each_kind_of_signal_earns_its_place_on_invented_talk() {
    let place = root().join("tests/data/retrieval");
    let overall = |weights: Weights| measured(&place, &weights).row(OVERALL).unwrap();
    let all = overall(Weights::default());
    let alone = Weights { before: [0; 6], after: [0; 6], answer: 0, ..Weights::default() };
    assert!(all.mrr > overall(alone).mrr + 0.05, "neighbours");
    let timeless = Weights { date: 0.0, same_day: 1.0, spoken: 1.0, ..Weights::default() };
    assert!(all.mrr > overall(timeless).mrr, "dates");
    let anybody = Weights { speaker: 1.0, speaker_later: 1.0, ..Weights::default() };
    assert!(all.mrr > overall(anybody).mrr, "speakers");
}

/// The development data is not ours to hand on: it lies beside the repository, or nowhere.
#[test]
fn the_development_data_is_found_as_well_as_promised() {
    let places = root().ancestors().map(|at| at.join("shared/data/retrieval")).collect::<Vec<_>>();
    let Some(place) = places.iter().skip(1).find(|place| place.is_dir()) else {
        let looked = places.get(1).unwrap().display();
        // Not `eprintln!`, which is kept from whoever runs tests that pass.
        writeln!(std::io::stderr(), "SKIPPED: the development data is not at {looked}").unwrap();
        return;
    };
    let report = measured(place, &Weights::default());
    let Figures { recall, mrr, ndcg, within, .. } = report.row(OVERALL).unwrap();
    at_least("recall@10", recall[1], 0.833);
    at_least("nDCG@10", ndcg, 0.687);
    at_least("MRR", mrr, 0.674);
    at_least("evidence within 500 words", within[1], 0.854);
    at_least("adversarial recall@10", report.row("adversarial").unwrap().recall[1], 0.897);
}
