//! Where upstreams come from: the operator's file, and those added while core runs, which are kept
//! in the data directory. Both are read again when they change.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde::Deserialize;

use super::Gateway;
use crate::{
    backplane::{
        config::{UpstreamSettings, read_upstreams},
        upstream::Upstream,
    },
    contract::upstream::UpstreamSpec,
    domain::{
        failure::{Failure, Kind},
        gateway::access::{Rule, Rules},
    },
};

/// The file of upstreams that were added while core ran.
pub const ADDED_FILE: &str = "upstreams.json";
/// Largest file taken, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Who may use what, as the operator's file says it.
#[derive(Deserialize)]
struct Access {
    #[serde(default)]
    access: Vec<Line>,
}

/// One rule of the file. What is left out fits everything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default = "everything")]
    principals: Vec<String>,
    #[serde(default = "everything")]
    upstreams: Vec<String>,
    #[serde(default = "everything", alias = "tools")]
    things: Vec<String>,
    #[serde(default = "yes")]
    allow: bool,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

fn yes() -> bool {
    true
}

/// The rules of a file.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn read_rules(text: &str) -> Result<Rules, String> {
    let file: Access = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let rules = file.access.into_iter().map(|line| Rule {
        principals: line.principals,
        upstreams: line.upstreams,
        things: line.things,
        allows: line.allow,
    });
    Ok(Rules(rules.collect()))
}

/// Keeps the gateway's upstreams what its files say. Cheap to clone.
#[derive(Clone)]
pub struct Roster {
    gateway: Gateway,
    settings: Arc<UpstreamSettings>,
    variables: Arc<BTreeMap<String, String>>,
    added: Arc<Path>,
    writing: Arc<Mutex<()>>,
}

impl Roster {
    /// The roster of `gateway`; what is added is kept in `data_dir`.
    #[must_use]
    pub fn new(
        gateway: Gateway,
        settings: &UpstreamSettings,
        variables: BTreeMap<String, String>,
        data_dir: &Path,
    ) -> Self {
        Roster {
            gateway,
            settings: Arc::new(settings.clone()),
            variables: Arc::new(variables),
            added: data_dir.join(ADDED_FILE).into(),
            writing: Arc::default(),
        }
    }

    /// Reads both files and makes it so.
    ///
    /// # Errors
    /// A sentence naming the file and what is wrong; then all stays as it is.
    pub fn read(&self) -> Result<(), String> {
        let mut specs = self.added()?;
        let (configured, rules) = self.configured()?;
        // Whoever runs core has the last word on a name.
        for spec in configured {
            specs.retain(|added| added.name != spec.name);
            specs.push(spec);
        }
        for spec in &specs {
            self.must_not_pass_for_ours(spec).map_err(|failure| failure.message)?;
        }
        self.gateway.upstreams.replace(specs).map_err(|failure| failure.message)?;
        self.gateway.catch_up();
        self.gateway.rule(rules);
        Ok(())
    }

    fn configured(&self) -> Result<(Vec<UpstreamSpec>, Rules), String> {
        let Some(path) = self.file() else { return Ok((Vec::new(), Rules::default())) };
        let wrong = |why: String| format!("UPSTREAMS_CONFIG: {}: {why}", path.display());
        let text = read_file(path).map_err(|error| wrong(error.to_string()))?;
        let specs = read_upstreams(&text, &self.settings.limits(), &self.variables);
        Ok((specs.map_err(wrong)?, read_rules(&text).map_err(wrong)?))
    }

    fn file(&self) -> Option<&Path> {
        let path = self.settings.upstreams_config.as_deref();
        path.filter(|path| !path.as_os_str().is_empty())
    }

    /// Those that were added.
    fn added(&self) -> Result<Vec<UpstreamSpec>, String> {
        let wrong = |why: String| format!("{}: {why}", self.added.display());
        match read_file(&self.added) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| wrong(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// The upstreams there are, by name.
    #[must_use]
    pub fn upstreams(&self) -> Arc<BTreeMap<String, Upstream>> {
        self.gateway.upstreams.all()
    }

    /// Adds the upstreams of a document, or puts them in the places of those that were added
    /// before, for good; their names.
    ///
    /// # Errors
    /// `validation_error` when one is wrong, `resource_already_exists` when the operator's file has
    /// one of its name, `database_error` when they cannot be kept. Then none is added.
    pub fn add(&self, document: &str) -> Result<Vec<String>, Failure> {
        let wrong = |why: String| Failure::invalid_field("upstreams", why, "value_error");
        let new = read_upstreams(document, &self.settings.limits(), &self.variables);
        let new = new.map_err(wrong)?;
        if new.is_empty() {
            return Err(wrong("there is none in it".to_owned()));
        }
        for spec in &new {
            self.must_not_pass_for_ours(spec)?;
            self.must_be_free(&spec.name)?;
            self.gateway.upstreams.check(spec)?;
        }
        self.change(|specs| {
            specs.retain(|there| new.iter().all(|spec| spec.name != there.name));
            specs.extend(new.iter().cloned());
        })?;
        let names = new.iter().map(|spec| spec.name.clone()).collect();
        for spec in new {
            self.gateway.upstreams.put(spec)?;
        }
        // Whoever added them finds them in the next list.
        self.gateway.catch_up();
        Ok(names)
    }

    /// Takes an added upstream out, for good.
    ///
    /// # Errors
    /// `resource_not_found`; `resource_already_exists` when it stands in the operator's file,
    /// `database_error` when that cannot be kept.
    pub fn remove(&self, name: &str) -> Result<(), Failure> {
        self.must_be_free(name)?;
        let mut found = false;
        self.change(|specs| {
            let before = specs.len();
            specs.retain(|there| there.name != name);
            found = specs.len() < before;
        })?;
        if !found {
            return Err(Failure::not_found("upstream", name));
        }
        self.gateway.upstreams.remove(name);
        self.gateway.catch_up();
        Ok(())
    }

    /// An upstream must not be taken for a service of ours, nor take its tools' names.
    fn must_not_pass_for_ours(&self, spec: &UpstreamSpec) -> Result<(), Failure> {
        for (field, name) in [("name", Some(&spec.name)), ("prefix", spec.prefix.as_ref())] {
            if let Some(name) = name.filter(|name| self.gateway.own.is_ours(name)) {
                let why = format!("{name} is a service of this backplane; choose another {field}");
                return Err(Failure::invalid_field(field, why, "value_error"));
            }
        }
        Ok(())
    }

    fn must_be_free(&self, name: &str) -> Result<(), Failure> {
        let configured = self.configured().map(|(specs, _)| specs).unwrap_or_default();
        if configured.iter().any(|spec| spec.name == name) {
            let message =
                format!("{name} stands in the file UPSTREAMS_CONFIG names: change it there");
            return Err(Failure::new(Kind::Conflict, message));
        }
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Vec<UpstreamSpec>)) -> Result<(), Failure> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = |why: String| Failure::new(Kind::Storage, why);
        let mut specs = self.added().map_err(broken)?;
        change(&mut specs);
        let text =
            serde_json::to_string_pretty(&specs).map_err(|error| broken(error.to_string()))?;
        write_file(&self.added, &text)
            .map_err(|error| broken(format!("{}: {error}", self.added.display())))
    }

    /// Looks for changes of the files, for ever.
    pub async fn follow(self, every: Duration) {
        let mut seen = self.stamps();
        loop {
            tokio::time::sleep(every).await;
            let now = self.stamps();
            if now == seen {
                continue;
            }
            seen = now;
            match self.read() {
                Ok(()) => log::info!("upstreams read again"),
                Err(why) => log::error!("upstreams stay as they were cause={why}"),
            }
        }
    }

    fn stamps(&self) -> Vec<Option<(SystemTime, u64)>> {
        let stamp = |path: &Path| {
            let about = fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        };
        self.file().into_iter().chain([&*self.added]).map(stamp).collect()
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    fs::read_to_string(path)
}

/// Writes a file that holds secrets: whole or not at all, for its owner alone.
fn write_file(path: &Path, text: &str) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let next: PathBuf = path.with_extension("json.next");
    let mut file =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_beside_the_upstreams() {
        let rules = read_rules(
            "upstreams: {}\naccess:\n- principals: [ann]\n  tools: ['delete_*']\n  allow: false\n- {}\n",
        )
        .unwrap();
        assert!(!rules.allow("ann", "files", "delete_all"));
        assert!(rules.allow("bob", "files", "delete_all"));
        assert_eq!(read_rules("upstreams: {}").unwrap(), Rules::default());
        assert!(
            read_rules("access: [{principal: ann}]").is_err(),
            "a slip of the pen is not silent"
        );
    }
}
