//! Answers of the rules alone: every memory indexed and asked in this process.

use tokio::time::Instant;

use super::{
    data::{Data, Turn},
    score::{Answer, DEPTHS},
};
use crate::domain::retrieval::{Index, Prepared, Question, Source, Weights};

/// Asks every question of an index of its memory.
#[must_use]
pub fn answers(data: &Data, weights: &Weights) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(data.questions.len());
    for (memory, turns) in &data.turns {
        let index = Index::of((1_i64..).zip(turns).map(|(seq, turn)| prepared(seq, turn)));
        for question in data.questions.iter().filter(|question| question.conv == *memory) {
            let [.., limit] = DEPTHS;
            let asked = Question { text: &question.question, limit, ..Question::default() };
            let start = Instant::now();
            let found = index.search(&asked, weights);
            let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
            let id = |seq: i64| {
                let place = usize::try_from(seq - 1).ok()?;
                turns.get(place).map(|turn| turn.id.clone())
            };
            let ranked = found.iter().filter_map(|found| id(found.seq)).collect();
            answers.push(Answer { question: question.qid.clone(), ranked, milliseconds });
        }
    }
    answers
}

fn prepared(seq: i64, turn: &Turn) -> Prepared {
    Prepared::of(&Source {
        seq,
        session: &turn.conversation(),
        sender: &turn.speaker,
        role: turn.role.as_deref().unwrap_or("user"),
        at: turn.at().unwrap_or_default(),
        content: &turn.text,
        caption: turn.caption.as_deref(),
    })
}
