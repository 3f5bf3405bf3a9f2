//! The bars of the product as ratios of what is measured side by side within one run: a shared
//! machine is slow for both sides of a ratio. Nothing fails here; `docs/benchmarks.md` has the bars.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a measurement that cannot go on says so by panicking"
)]

mod commits;
mod durable;
mod rig;
mod serve;
mod streams;
mod trouble;

use std::path::PathBuf;

use clap::Parser;
use serde_json::json;

/// Measures the bars of the product.
#[derive(Parser)]
struct Line {
    /// Which to measure: durable, stack, group, fan-out, overload, memory-gone, hung [default: all].
    names: Vec<String>,
    /// Shorter and fewer rounds.
    #[arg(long)]
    quick: bool,
    /// Rounds, interleaved [default: 5, with --quick 1].
    #[arg(long)]
    rounds: Option<u32>,
    /// The program that is measured [default: the one built along].
    #[arg(long, default_value = env!("CARGO_BIN_EXE_cortex"))]
    program: PathBuf,
    /// Directory below which data lies for the time of the run; on a disk.
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    dir: PathBuf,
    /// Where the figures are written as JSON.
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/ratios.json"))]
    json: PathBuf,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    /// Serves one side of a comparison instead: echo, bare or stack.
    #[arg(long, hide = true)]
    serve: Option<String>,
    /// Where the other side of a hop is.
    #[arg(long, hide = true)]
    to: Option<String>,
}

/// How one figure compares.
#[derive(Clone)]
struct Figure {
    name: String,
    /// One for each round.
    rounds: Vec<f64>,
    unit: &'static str,
    /// What must hold of the median: at least or at most so much.
    bar: Option<Bar>,
    note: String,
}

#[derive(Clone, Copy)]
enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    fn new(name: &str, unit: &'static str, rounds: Vec<f64>) -> Self {
        Figure { name: name.to_owned(), rounds, unit, bar: None, note: String::new() }
    }

    fn at_least(self, bar: f64) -> Self {
        Figure { bar: Some(Bar::AtLeast(bar)), ..self }
    }

    fn at_most(self, bar: f64) -> Self {
        Figure { bar: Some(Bar::AtMost(bar)), ..self }
    }

    fn note(self, note: impl Into<String>) -> Self {
        Figure { note: note.into(), ..self }
    }

    fn median(&self) -> f64 {
        let mut sorted = self.rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle - 1), at(middle)) }
    }

    fn verdict(&self) -> (String, &'static str) {
        let median = self.median();
        match self.bar {
            None => ("-".to_owned(), ""),
            Some(Bar::AtLeast(bar)) => {
                (format!(">= {bar}"), if median >= bar { "holds" } else { "MISSED" })
            }
            Some(Bar::AtMost(bar)) => {
                (format!("<= {bar}"), if median <= bar { "holds" } else { "MISSED" })
            }
        }
    }

    fn line(&self) -> String {
        let least = self.rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (bar, verdict) = self.verdict();
        let figure = format!("{:.2} {}", self.median(), self.unit);
        let range = format!("{least:.2}..{most:.2}");
        let Figure { name, note, .. } = self;
        format!("{name:<58} {bar:>11} {figure:>18} {range:>20}  {verdict:<6} {note}")
    }
}

/// How the measuring is done.
struct Terms {
    rounds: u32,
    /// Seconds of one measurement.
    seconds: f64,
    program: PathBuf,
    dir: PathBuf,
}

fn main() {
    let line = Line::parse();
    actix::System::new().block_on(async move {
        if let Some(what) = &line.serve {
            return serve::run(what, line.to.as_deref()).await;
        }
        measure(line).await;
    });
}

async fn measure(line: Line) {
    let rounds = line.rounds.unwrap_or(if line.quick { 1 } else { 5 });
    let seconds = if line.quick { 1.0 } else { 3.0 };
    let Line { names, program, dir, json, .. } = line;
    std::fs::create_dir_all(&dir).unwrap();
    let terms = Terms { rounds, seconds, program, dir };
    let wanted = |name: &str| names.is_empty() || names.iter().any(|known| known == name);
    let mut figures: Vec<Figure> = Vec::new();
    let mut add = |more: Vec<Figure>| {
        for figure in &more {
            println!("{}", figure.line());
        }
        figures.extend(more);
    };
    let (figure, range) = ("MEDIAN", "RANGE");
    println!("{:<58} {:>11} {figure:>18} {range:>20}", "FIGURE", "BAR");
    if wanted("durable") {
        add(durable::measure(&terms).await);
    }
    if wanted("stack") {
        add(durable::measure_stack(&terms).await);
    }
    if wanted("group") {
        add(commits::measure(&terms).await);
    }
    if wanted("fan-out") {
        add(streams::measure(&terms).await);
    }
    if wanted("overload") {
        add(trouble::measure_overload(&terms).await);
    }
    if wanted("memory-gone") {
        add(trouble::measure_memory_gone(&terms).await);
    }
    if wanted("hung") {
        add(trouble::measure_hung(&terms).await);
    }
    let written: Vec<_> = figures
        .iter()
        .map(|figure| {
            let (bar, verdict) = figure.verdict();
            json!({"name": figure.name, "unit": figure.unit, "rounds": figure.rounds,
                   "median": figure.median(), "bar": bar, "verdict": verdict,
                   "note": figure.note})
        })
        .collect();
    std::fs::write(&json, serde_json::to_string_pretty(&written).unwrap()).unwrap();
    println!("\nAs JSON: {}", json.display());
}
