//! The data of a measurement: turns of conversations, and questions with the turns that answer them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::backplane::clock;

const TURNS: &str = ".turns.jsonl";
const QUESTIONS: &str = ".questions.jsonl";

/// One turn of a conversation.
#[derive(Clone, Debug, Deserialize)]
pub struct Turn {
    /// Whose memory it belongs to.
    pub conv: String,
    /// Its id, unique over the data.
    pub id: String,
    /// The session within the memory: a number or a name.
    pub session: Value,
    /// When: RFC 3339, or without a zone for UTC.
    pub time: String,
    /// Who spoke.
    pub speaker: String,
    /// What was said.
    pub text: String,
    /// What a picture shows that was shown with it.
    #[serde(default)]
    pub caption: Option<String>,
    /// `user`, unless told otherwise.
    #[serde(default)]
    pub role: Option<String>,
}

impl Turn {
    /// The conversation as it is stored: the memory's name and the session's.
    #[must_use]
    pub fn conversation(&self) -> String {
        let session = self.session.as_str().map_or_else(|| self.session.to_string(), str::to_owned);
        format!("{}{session}", self.conv)
    }

    /// When, in milliseconds since the Unix epoch; `None` when that is not to be read.
    #[must_use]
    pub fn at(&self) -> Option<i64> {
        clock::parse(&self.time).map(|micros| micros.div_euclid(1000))
    }

    /// Words of the text and the caption, between spaces (count).
    #[must_use]
    pub fn words(&self) -> usize {
        let caption = self.caption.as_deref().unwrap_or_default();
        self.text.split_whitespace().chain(caption.split_whitespace()).count()
    }
}

/// A question, and what answers it.
#[derive(Clone, Debug, Deserialize)]
pub struct Question {
    /// Its id, unique over the data.
    pub qid: String,
    /// Whose memory is asked.
    pub conv: String,
    /// The question.
    pub question: String,
    /// Its kind.
    pub category: String,
    /// Whether it asks for what was never said so; counted apart.
    #[serde(default)]
    pub adversarial: bool,
    /// The ids of the turns that answer it; without any it is not counted.
    pub gold: Vec<String>,
}

/// Turns and questions.
#[derive(Clone, Debug)]
pub struct Data {
    /// The turns of each memory, in the file's order.
    pub turns: BTreeMap<String, Vec<Turn>>,
    /// The questions.
    pub questions: Vec<Question>,
}

impl Data {
    /// Reads `NAME.turns.jsonl` and `NAME.questions.jsonl`, of a folder or of a path up to `NAME`.
    ///
    /// # Errors
    /// A sentence that names the file, and the line that is not as it should be.
    pub fn read(place: &Path) -> Result<Self, String> {
        let base = if place.is_dir() { only_name(place)? } else { place.to_owned() };
        let beside = |ending: &str| {
            let mut name = base.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        let mut turns: BTreeMap<String, Vec<Turn>> = BTreeMap::new();
        for turn in lines::<Turn>(&beside(TURNS))? {
            if turn.at().is_none() {
                return Err(format!("{}: turn {} has no time", beside(TURNS).display(), turn.id));
            }
            turns.entry(turn.conv.clone()).or_default().push(turn);
        }
        Ok(Data { turns, questions: lines(&beside(QUESTIONS))? })
    }
}

/// The one data set of a folder.
fn only_name(folder: &Path) -> Result<PathBuf, String> {
    let unread = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        found.extend(path.to_str().and_then(|path| path.strip_suffix(TURNS)).map(PathBuf::from));
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(format!("{} has no NAME{TURNS}", folder.display())),
        [..] => Err(format!("{} has several data sets: name one", folder.display())),
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, String> {
    let unread = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut read = Vec::new();
    for (number, line) in (1_u32..).zip(BufReader::new(File::open(path).map_err(unread)?).lines()) {
        let line = line.map_err(unread)?;
        if !line.trim().is_empty() {
            let one = serde_json::from_str(&line)
                .map_err(|error| format!("{}, line {number}: {error}", path.display()))?;
            read.push(one);
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: &str = r#"{"conv": "a", "id": "a/1", "session": 2, "pos": 0, "speaker": "Ada",
        "time": "2024-05-08T13:56:00", "text": "two words", "caption": null}"#;

    fn read(turns: &str, questions: &str) -> Result<Data, String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x.turns.jsonl"), turns.replace('\n', " ")).unwrap();
        fs::write(dir.path().join("x.questions.jsonl"), questions).unwrap();
        Data::read(dir.path())
    }

    #[test]
    fn a_folder_with_one_set_is_read_and_a_turn_knows_where_it_is_stored() {
        let data = read(TURN, "\n").unwrap();
        let turn = &data.turns["a"][0];
        assert_eq!(turn.conversation(), "a2");
        assert_eq!(turn.at(), Some(1_715_176_560_000));
        assert_eq!(turn.words(), 2);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let wrong = read(TURN, "{}").unwrap_err();
        assert!(wrong.contains("x.questions.jsonl, line 1: missing field `qid`"), "{wrong}");
        let wrong = read(&TURN.replace("2024-05-08T", "soon"), "").unwrap_err();
        assert!(wrong.ends_with("turn a/1 has no time"), "{wrong}");
        let wrong = Data::read(Path::new("/no/such/place")).unwrap_err();
        assert!(wrong.starts_with("/no/such/place.turns.jsonl: "), "{wrong}");
    }
}
