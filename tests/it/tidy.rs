//! The house rules that no compiler checks: floors, sizes, first sentences, words, licences, links.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The floors, from the ground up.
const FLOORS: [(&str, u32); 7] = [
    ("domain", 1),
    ("contract", 2),
    ("backplane", 3),
    ("services", 4),
    ("http", 5),
    ("cli", 5),
    ("process", 6),
];
/// Lines of a file without its tests.
const CODE_LINES_MAX: usize = 400;
/// Lines of a file with its tests.
const FILE_LINES_MAX: usize = 450;
const LICENCES: [&str; 9] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MPL-2.0",
    "Zlib",
    "Unicode-3.0",
    "Apache-2.0 WITH LLVM-exception",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(under: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join(under), ending, &mut found);
    assert!(!found.is_empty(), "no {ending} files under {under}");
    found.sort();
    found
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The code of a file: no comments, and nothing from its test module on.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end]
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The paths below `crate::` that code names, two segments deep: `services::memory`.
fn names_below_crate(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if rest.starts_with('{') {
            names.extend(group(rest));
        } else {
            names.insert(head(rest));
        }
    }
    names
}

/// The members of a braced group, each two segments deep.
fn group(text: &str) -> Vec<String> {
    let (mut depth, mut member, mut members) = (0, String::new(), Vec::new());
    for letter in text.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && letter == ',') {
            members.push(std::mem::take(&mut member));
        } else if !(depth == 1 && letter == '{') {
            member.push(letter);
        }
        if depth == 0 {
            break;
        }
    }
    members.iter().flat_map(|member| expand(member.trim())).collect()
}

/// `services::{memory, cognition::x}` is both of them.
fn expand(member: &str) -> Vec<String> {
    match member.split_once("::{") {
        Some((first, inner)) if !first.contains("::") => group(&format!("{{{inner}"))
            .into_iter()
            .map(|name| format!("{first}::{}", name.split("::").next().unwrap_or_default()))
            .collect(),
        _ => vec![head(member)],
    }
}

fn head(path: &str) -> String {
    let ident = |text: &str| {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let first = ident(path);
    match path[first.len()..].strip_prefix("::") {
        Some(rest) => format!("{first}::{}", ident(rest)),
        None => first,
    }
}

fn floor(name: &str) -> Option<u32> {
    let first = name.split("::").next().unwrap_or_default();
    FLOORS.iter().find(|(floor, _)| *floor == first).map(|(_, number)| *number)
}

#[test]
fn the_reader_of_paths_reads_them() {
    let code = "use crate::{backplane::{a, b}, domain::x, services::{memory, cognition::Y}};\n\
                fn f() { crate::http::problem::g(); }";
    let names: Vec<String> = names_below_crate(code).into_iter().collect();
    assert_eq!(
        names,
        [
            "backplane::a",
            "backplane::b",
            "domain::x",
            "http::problem",
            "services::cognition",
            "services::memory"
        ]
    );
}

#[test]
fn a_file_uses_its_own_floor_and_those_below() {
    for (name, text) in files("src", "rs") {
        let Some(folder) = name.split('/').nth(1).filter(|_| name.matches('/').count() > 1) else {
            continue;
        };
        let own = floor(folder).unwrap_or_else(|| panic!("{name} stands on no floor"));
        for used in names_below_crate(&code(&text)) {
            let Some(theirs) = floor(&used) else { continue };
            assert!(theirs <= own, "{name} (floor {own}) uses {used} (floor {theirs})");
            let sisters = own == 5 && theirs == 5 && !used.starts_with(folder);
            assert!(!sisters, "{name} uses {used}: http and cli do not know each other");
        }
    }
}

#[test]
fn services_do_not_know_each_other() {
    for (name, text) in files("src/services", "rs") {
        let own = name.split('/').nth(2).unwrap();
        for used in names_below_crate(&code(&text)) {
            let Some(other) = used.strip_prefix("services::") else { continue };
            assert!(own.starts_with(other), "{name} uses {used}");
        }
    }
}

#[test]
fn rules_do_no_io_and_read_no_clock() {
    for (name, text) in files("src/domain", "rs") {
        let code = code(&text);
        for banned in
            ["actix", "diesel", "awc::", "std::env", "std::fs", "std::net", "::now()", "async fn"]
        {
            assert!(!code.contains(banned), "{name} has {banned}");
        }
    }
}

#[test]
fn files_open_with_a_sentence_and_stay_small() {
    for (name, text) in files("src", "rs").into_iter().chain(files("tests", "rs")) {
        let first = text.lines().next().unwrap_or_default();
        let says = first.starts_with("//! ") && first.len() > 20;
        assert!(says, "{name} does not open with a sentence");
        let lines = text.lines().count();
        let of_code = code(&text).lines().count();
        assert!(of_code <= CODE_LINES_MAX, "{name} has {of_code} lines of code");
        assert!(lines <= FILE_LINES_MAX, "{name} has {lines} lines");
    }
}

#[test]
fn nothing_is_left_unfinished_and_logs_have_one_style() {
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), "dbg!("];
    for (name, text) in files("src", "rs") {
        for word in unfinished {
            assert!(!text.contains(word), "{name} has {word}");
        }
        for level in ["error", "warn", "info", "debug"] {
            for (at, start) in text.match_indices(&format!("log::{level}!(")) {
                let message = text[at + start.len()..].trim_start().trim_start_matches('"');
                let first = message.chars().next().unwrap_or_default();
                assert!(!first.is_uppercase(), "{name}: a log line begins with {first:?}");
                let whole = message.split('"').next().unwrap_or_default();
                assert!(!whole.ends_with('.'), "{name}: a log line ends with a full stop");
            }
        }
    }
}

#[test]
fn every_dependency_has_a_licence_we_accept() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        // What is built and handed out; other systems' packages are only named in the lock file.
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "the list of packages is not whole");
    for package in packages {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(acceptable(licence), "{}: {licence:?}", package["name"]);
    }
}

/// Every part that must hold has an alternative we accept.
fn acceptable(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], "").replace('/', " OR ");
    !flat.trim().is_empty()
        && flat
            .split(" AND ")
            .all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn links_in_the_documentation_lead_somewhere() {
    for (name, text) in files("docs", "md").into_iter().chain(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
            .map(|name| (name.to_owned(), fs::read_to_string(root().join(name)).unwrap())),
    ) {
        let folder = root().join(&name).parent().unwrap().to_owned();
        for piece in text.split("](").skip(1) {
            let link = piece.split([')', '#']).next().unwrap_or_default();
            if link.is_empty() || link.contains("://") {
                continue;
            }
            assert!(folder.join(link).exists(), "{name} links to {link}");
        }
    }
}

#[test]
fn every_migration_can_be_taken_back() {
    for (name, text) in files("migrations", "sql") {
        assert!(!text.trim().is_empty(), "{name} is empty");
        let twin = if name.ends_with("up.sql") {
            name.replace("up.sql", "down.sql")
        } else {
            name.replace("down.sql", "up.sql")
        };
        assert!(root().join(&twin).exists(), "{name} has no {twin}");
    }
}
