//! No document names a path that does not exist.

use crate::harness::in_repository;

const DOCUMENTS: [&str; 12] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/guides/nginx.md",
    "docs/guides/verification.md",
    "docs/guides/moving.md",
    "docs/guides/sign-in.md",
    "docs/guides/keys.md",
    "docs/guides/postgresql.md",
    "deploy/README.md",
];

const ENDINGS: [&str; 12] =
    [".rs", ".md", ".toml", ".sql", ".py", ".txt", ".html", ".css", ".js", ".json", ".lua", ".conf"];

/// Files that a user has, not this repository.
const USERS_OWN: [&str; 1] = ["keyward.toml"];

/// Whether a word in code type claims to be a file or folder of this repository.
fn claims_to_be_a_path(word: &str) -> bool {
    let plain = word.chars().all(|letter| letter.is_alphanumeric() || "/._-".contains(letter));
    let ours = ["src/", "crates/", "tests/", "docs/", "xtask/", "templates/", "assets/", "fuzz/", "benches/", ".ci/"];
    let rooted = ours.iter().any(|root| word.starts_with(root));
    let file = ENDINGS.iter().any(|ending| word.ends_with(ending)) && !word.starts_with('/') && !word.starts_with('.');
    plain && (rooted || file) && !USERS_OWN.contains(&word)
}

/// Words in back-ticks and targets of links.
fn paths_in_text(text: &str) -> Vec<String> {
    let code = text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
    let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    code.chain(links.filter(|link| !link.contains("://")))
        .map(|word| word.trim_end_matches([',', ';', ':']).to_owned())
        .filter(|word| claims_to_be_a_path(word))
        .collect()
}

/// The files and folders of an indented tree: names first, after two spaces what they are for.
fn paths_in_tree(block: &str) -> Vec<String> {
    let mut folders: Vec<(usize, String)> = Vec::new();
    let mut paths = Vec::new();
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        folders.retain(|(depth, _)| *depth < indent);
        let names = line.trim_start().split("  ").next().unwrap();
        for name in names.split_whitespace().filter(|name| is_a_name(name)) {
            let folder: String = folders.iter().map(|(_, name)| name.as_str()).collect();
            paths.push(format!("{folder}{name}"));
            if name.ends_with('/') && names == name {
                folders.push((indent, name.to_owned()));
            }
        }
    }
    paths
}

fn is_a_name(word: &str) -> bool {
    word.ends_with('/') || ENDINGS.iter().any(|ending| word.ends_with(ending)) || word == ".ci/run"
}

/// The text outside code blocks, and the blocks that draw a tree.
fn split(document: &str) -> (String, Vec<String>) {
    let mut prose = String::new();
    let mut trees = Vec::new();
    for (number, part) in document.split("\n```").enumerate() {
        if number % 2 == 0 {
            prose.push_str(part);
        } else {
            let (language, block) = part.split_once('\n').unwrap_or((part, ""));
            if ["", "text"].contains(&language.trim())
                && block.lines().any(|line| line.trim_start().starts_with("src/"))
            {
                trees.push(block.to_owned());
            }
        }
    }
    (prose, trees)
}

#[test]
fn every_path_that_a_document_names_exists() {
    for name in DOCUMENTS {
        let document = std::fs::read_to_string(in_repository(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (prose, trees) = split(&document);
        let folder = std::path::Path::new(name).parent().unwrap();
        let named = paths_in_text(&prose).into_iter().chain(trees.iter().flat_map(|tree| paths_in_tree(tree)));
        for path in named {
            let exists = in_repository(&path).exists() || in_repository(folder.join(&path).to_str().unwrap()).exists();
            assert!(exists, "{name} names {path}, which does not exist");
        }
    }
}

#[test]
fn the_architecture_draws_its_map() {
    let document = std::fs::read_to_string(in_repository("ARCHITECTURE.md")).unwrap();
    let (_, trees) = split(&document);
    let paths: Vec<String> = trees.iter().flat_map(|tree| paths_in_tree(tree)).collect();
    assert!(paths.len() > 20, "only {} paths in the map: {paths:?}", paths.len());
}

#[test]
fn the_readme_opens_with_the_two_commands() {
    let document = std::fs::read_to_string(in_repository("README.md")).unwrap();
    for command in ["cargo run --release -- serve --demo", "cargo xtask test"] {
        assert!(document.contains(command), "{command}");
    }
    let ci = std::fs::read_to_string(in_repository(".ci/run")).unwrap();
    assert!(ci.contains("cargo xtask test"));
}

/// What follows `fn ` in every source below these folders.
fn functions() -> std::collections::HashSet<String> {
    let mut folders: Vec<_> = ["src", "crates", "tests/it"].map(in_repository).into();
    let mut names = std::collections::HashSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let named = text.split("fn ").skip(1).filter_map(|rest| rest.split_once('('));
                names.extend(named.map(|(name, _)| name.to_owned()));
            }
        }
    }
    names
}

/// Whether a word in code type is a sentence, as the names of tests are.
fn is_a_test_s_name(word: &str) -> bool {
    word.matches('_').count() >= 3
        && word.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter))
}

#[test]
fn every_test_that_proves_a_promise_exists() {
    let document = std::fs::read_to_string(in_repository("SECURITY.md")).unwrap();
    let functions = functions();
    let named: Vec<&str> = document.split('`').skip(1).step_by(2).filter(|word| is_a_test_s_name(word)).collect();
    assert!(named.len() > 30, "only {} tests are named", named.len());
    for name in named {
        assert!(functions.contains(name), "SECURITY.md names {name}, which is no test");
    }
    let promises = document.lines().filter(|line| line.starts_with("| ") && line.contains(" | **"));
    for promise in promises {
        let proofs = promise.rsplit(" | ").next().unwrap();
        assert!(proofs.split('`').any(is_a_test_s_name), "nothing proves this promise: {promise}");
    }
}

#[test]
fn the_reader_of_documents_sees_what_it_should() {
    let text =
        "see `src/app.rs` and `cargo xtask test`, [the guide](docs/guides/x.md#a), `GET /v1/models`, `Cargo.toml`";
    assert_eq!(paths_in_text(text), ["src/app.rs", "Cargo.toml", "docs/guides/x.md"]);
    let tree = "crates/\n  vault/   secrets\n    seal.rs token.rs   sealing\nsrc/\n  main.rs  it\n";
    assert_eq!(
        paths_in_tree(tree),
        ["crates/", "crates/vault/", "crates/vault/seal.rs", "crates/vault/token.rs", "src/", "src/main.rs"]
    );
}
