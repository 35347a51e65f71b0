//! Who may import whom: ARCHITECTURE.md's rule, held against the sources.

use std::path::{Path, PathBuf};

use crate::harness::in_repository;

/// A source file as a module: its path from `src/`, and its code without comments and literals.
struct Source {
    path: PathBuf,
    code: String,
}

impl Source {
    /// `gateway` for `src/gateway/route.rs` and for `src/gateway.rs`.
    fn module(&self) -> String {
        let first = self.path.components().next().unwrap().as_os_str().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    }

    /// How many modules deep it stands: 1 for `src/auth.rs` and `src/gateway/mod.rs`.
    fn depth(&self) -> usize {
        let parts = self.path.components().count();
        if self.path.ends_with("mod.rs") { parts - 1 } else { parts }
    }

    /// The top-level modules it names, by `crate::` or by a chain of `super::` that reaches the root.
    fn imports(&self) -> Vec<String> {
        let squeezed: String =
            self.code.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ::", "::").replace(":: ", "::");
        let mut found = names_after(&squeezed, "crate::");
        found.extend(names_after(&squeezed, &"super::".repeat(self.depth())));
        found
    }
}

/// What follows a path prefix: one name, or the first names within braces.
fn names_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':' || letter == '$') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => names.push(identifier(rest)),
            Some(group) => names.extend(first_names(group)),
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// `a::b, c::{d, e}, f}` has a, c and f.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut at_start) = (0, Vec::new(), true);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            ' ' => {}
            _ if at_start => {
                names.push(identifier(&group[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

/// The code without comments, strings and character literals, so that words in them count for nothing.
fn without_prose(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if letter == '"' {
            string(rest)
        } else if rest.starts_with("'\"'") || rest.starts_with("'/'") {
            3
        } else if let Some(escaped) = rest.strip_prefix("'\\") {
            escaped.char_indices().skip(1).find(|(_, letter)| *letter == '\'').map_or(rest.len(), |(at, _)| at + 3)
        } else {
            code.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let body = 1 + hashes + 1;
    text[body..].find(&end).map(|at| body + at + end.len())
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn sources(folder: &str) -> Vec<Source> {
    let root = in_repository(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let code = without_prose(&std::fs::read_to_string(&path).unwrap());
                found.push(Source { path: path.strip_prefix(&root).unwrap().to_owned(), code });
            }
        }
    }
    assert!(!found.is_empty(), "no source in {folder}");
    found
}

/// Asserts that no file of `module` names one of `forbidden`.
#[track_caller]
fn never_imports(module: &str, forbidden: &[&str]) {
    let sources = sources("src");
    let of_module: Vec<&Source> = sources.iter().filter(|source| source.module() == module).collect();
    assert!(!of_module.is_empty(), "there is no src/{module}: the rule guards nothing");
    for source in of_module {
        for import in source.imports() {
            assert!(!forbidden.contains(&import.as_str()), "src/{} imports crate::{import}", source.path.display());
        }
    }
}

#[test]
fn the_domain_knows_no_http() {
    never_imports("domain", &["gateway", "api", "console", "verify", "app", "commands"]);
    for source in sources("src").iter().filter(|source| source.module() == "domain") {
        for name in ["axum", "hyper", "http"] {
            let named = names_after(&source.code, &format!("{name}::"));
            assert!(named.is_empty(), "src/{} uses {name}", source.path.display());
        }
    }
}

#[test]
fn the_four_faces_never_import_each_other() {
    let faces = ["gateway", "api", "console", "verify"];
    for face in faces {
        let others: Vec<&str> = faces.into_iter().filter(|other| *other != face).chain(["app"]).collect();
        never_imports(face, &others);
    }
}

#[test]
fn nothing_below_the_faces_imports_them() {
    for module in ["auth", "error", "egress", "config"] {
        never_imports(module, &["gateway", "api", "console", "verify", "app", "commands"]);
    }
}

#[test]
fn only_the_egress_opens_connections_and_takes_secrets_out_of_their_type() {
    for source in sources("src").iter().filter(|source| source.module() != "egress") {
        for word in ["expose_secret", "TcpStream::connect", "TcpSocket", "UnixStream::connect"] {
            assert!(!source.code.contains(word), "src/{} has {word}", source.path.display());
        }
    }
}

#[test]
fn all_sql_is_in_the_store() {
    for folder in ["src", "crates/vault/src", "crates/llm/src"] {
        for source in sources(folder) {
            assert!(!source.code.contains("sqlx"), "{folder}/{} has sqlx", source.path.display());
        }
    }
}

#[test]
fn the_crates_keep_out_what_they_are_there_to_keep_out() {
    let forbidden: [(&str, &[&str]); 3] = [
        ("vault", &["tokio", "sqlx", "axum", "hyper", "http", "llm", "store", "keyward"]),
        ("llm", &["tokio", "sqlx", "axum", "hyper", "vault", "store", "keyward"]),
        ("store", &["axum", "hyper", "http", "llm", "keyward"]),
    ];
    for (name, never) in forbidden {
        let manifest = std::fs::read_to_string(in_repository(&format!("crates/{name}/Cargo.toml"))).unwrap();
        let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        for line in dependencies.lines() {
            let dependency = identifier(&line.replace('-', "_"));
            assert!(!never.contains(&dependency.as_str()), "crates/{name} depends on {dependency}");
        }
    }
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let source = Source {
        path: Path::new("domain/agent_keys.rs").to_owned(),
        code: without_prose(
            "use crate::{auth, store::{gateway}, error::Error};\n// crate::app\nuse super::super::verify::x;\n\
             let s = \"crate::console\"; fn f<'a>(x: &'a str) -> char { '\"' } use crate :: api :: y; r#\"crate::commands\"#;",
        ),
    };
    let mut imports = source.imports();
    imports.sort();
    assert_eq!(imports, ["api", "auth", "error", "store", "verify"]);
}
