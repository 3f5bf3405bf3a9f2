//! What `cortex up` prints once everything is ready: where things are, and three lines to try.

use std::path::PathBuf;

/// What to tell a person once everything is ready.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// URL of core.
    pub core: String,
    /// URL of memory.
    pub memory: String,
    /// URL of cognition.
    pub cognition: String,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Login name and password of the development user.
    pub login: (&'static str, &'static str),
    /// A token of the development user, good for a day.
    pub token: String,
}

impl Welcome {
    /// The text. The three commands work as they stand, each in a terminal of its own.
    #[must_use]
    pub fn text(&self) -> String {
        let Welcome { core, memory, cognition, token, .. } = self;
        let (name, password) = self.login;
        let data_dir = self.data_dir.display();
        let bearer = format!("-H 'Authorization: Bearer {token}'");
        let json = "-H 'Content-Type: application/json'";
        format!(
            "
Cortex is ready. Ctrl-C ends it.

  core       {core}
  memory     {memory}
  cognition  {cognition}
  data       {data_dir}
  login      {name} / {password}
  token      {token}

1. Watch the stream (leave it running, go on in a second terminal):

curl -N {bearer} {core}/output/stream

2. Send an input:

curl {bearer} {json} -d '{{\"content\": \"The launch of Apollo is on 12 March 2027\"}}' {core}/input

3. Ask for context:

curl {bearer} {json} -d '{{\"query\": \"When is the launch?\"}}' {core}/cognition/context

`cortex status --url {core}` shows how everything is.
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_three_commands_with_the_token() {
        let text = Welcome {
            core: "http://127.0.0.1:1".into(),
            memory: "http://127.0.0.1:2".into(),
            cognition: "http://127.0.0.1:3".into(),
            data_dir: "data".into(),
            login: ("name", "word"),
            token: "TOKEN".into(),
        }
        .text();
        let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("curl ")).collect();
        assert_eq!(commands.len(), 3);
        assert!(commands.iter().all(|command| command.contains("Bearer TOKEN")));
    }
}
