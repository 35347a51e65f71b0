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
        // Without the `super::*` of a module for tests, which stands one deeper.
        let by_super = names_after(&squeezed, &"super::".repeat(self.depth()));
        found.extend(by_super.into_iter().filter(|name| !name.is_empty()));
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

/// ARCHITECTURE.md's paragraph "Who may import whom": each module with the crates and modules it may name.
const MAY_IMPORT: [(&str, &[&str]); 22] = [
    ("config", &[]),
    ("error", &["vault", "store"]),
    ("egress", &["vault", "llm"]),
    ("domain", &["vault", "llm", "store", "error", "egress", "config"]),
    ("auth", &["vault", "domain", "error", "config"]),
    ("request", &["domain", "config"]),
    ("csv", &[]),
    ("forwarded", &[]),
    ("timely", &[]),
    ("tls", &[]),
    ("metrics", &["domain"]),
    ("gateway", &["vault", "llm", "store", "domain", "auth", "error", "egress"]),
    ("verify", &["llm", "domain", "auth", "error"]),
    ("api", &["store", "csv", "domain", "auth", "error", "request", "config", "metrics"]),
    ("console", &["vault", "llm", "store", "csv", "domain", "auth", "error", "request", "config"]),
    ("control", &["domain", "config", "metrics", "api", "console"]),
    ("peers", &["domain"]),
    ("listen", &["metrics", "peers", "request", "timely", "tls", "forwarded", "gateway", "verify"]),
    (
        "app",
        &[
            "vault",
            "store",
            "domain",
            "egress",
            "config",
            "metrics",
            "gateway",
            "control",
            "listen",
            "tls",
            "forwarded",
            "assembly",
            "data_dir",
        ],
    ),
    ("assembly", &["vault", "store", "domain", "egress", "config"]),
    ("data_dir", &["domain", "config", "assembly"]),
    ("commands", &["vault", "domain", "error", "config", "app", "assembly", "data_dir"]),
];

#[test]
fn every_module_imports_what_it_may_and_nothing_else() {
    for source in sources("src").iter().filter(|source| source.module() != "main") {
        let (module, path) = (source.module(), source.path.display());
        let rule = MAY_IMPORT.iter().find(|(name, _)| *name == module);
        let (_, allowed) = rule.unwrap_or_else(|| panic!("src/{path}: no rule says what {module} may import"));
        for import in source.imports() {
            let may = import == module || allowed.contains(&import.as_str());
            assert!(may, "src/{path} imports crate::{import}, which {module} may not");
        }
        for name in ["vault", "llm", "store"] {
            let named = !names_after(&source.code, &format!("{name}::")).is_empty();
            assert!(!named || allowed.contains(&name), "src/{path} imports {name}, which {module} may not");
        }
    }
}

#[test]
fn every_rule_is_about_a_module_that_there_is() {
    let modules: Vec<String> = sources("src").iter().map(Source::module).collect();
    for (name, _) in MAY_IMPORT {
        assert!(modules.iter().any(|module| module == name), "there is no src/{name}: the rule guards nothing");
    }
}

#[test]
fn the_domain_knows_no_http_and_one_file_of_it_the_settings() {
    for source in sources("src").iter().filter(|source| source.module() == "domain") {
        for name in ["axum", "hyper", "http"] {
            let named = names_after(&source.code, &format!("{name}::"));
            assert!(named.is_empty(), "src/{} uses {name}", source.path.display());
        }
        let knows = source.imports().contains(&"config".to_owned());
        assert!(!knows || source.path.ends_with("installation.rs"), "src/{} knows settings", source.path.display());
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
