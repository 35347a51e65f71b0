//! `keyward scan`: finds agent keys and management tokens in files and in git's history, by their form and checksum. Asks
//! nobody, and shows no more of them than a list does.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use vault::{FoundToken, MAX_TOKEN_LEN, TokenKind, find_tokens};

use super::Failure;

/// How much is read at a time, in bytes.
const CHUNK: usize = 1024 * 1024;

/// A token, and where it stands.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    line: u64,
    column: u64,
    what: FoundToken,
}

/// What was gone through.
#[derive(Debug, Default)]
struct Scan {
    files: u64,
    objects: u64,
    found: u64,
    unread: u64,
}

/// Goes through everything at and under these paths; `-` is standard input.
pub fn run(paths: &[PathBuf]) -> Result<(), Failure> {
    let mut scan = Scan::default();
    for path in paths {
        if path.as_os_str() == "-" {
            let found = findings(io::stdin().lock());
            scan.tell(found, "standard input");
        } else {
            scan.path(path);
        }
    }
    let Scan { files, objects, found, unread } = scan;
    let unread = match unread {
        0 => String::new(),
        unread => format!("; {unread} could not be read, the lines above say which"),
    };
    if found > 0 {
        return Err(Failure(format!(
            "{found} found in {files} files and {objects} git objects: delete those keys in Keyward, or revoke an agent key with \
             itself: POST /api/v1/agent-keys/revoke-leaked {{\"key\": \"…\"}}{unread}"
        )));
    }
    if !unread.is_empty() {
        return Err(Failure(format!("nothing found in {files} files and {objects} git objects{unread}")));
    }
    println!("nothing found in {files} files and {objects} git objects");
    Ok(())
}

impl Scan {
    fn path(&mut self, start: &Path) {
        let mut open = vec![start.to_owned()];
        while let Some(path) = open.pop() {
            // Links lead out of what was asked for, or around in circles; one that was named itself is followed.
            let kind = if path == start { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
            match kind {
                Err(error) => self.could_not(&path, &error),
                Ok(kind) if kind.is_dir() => {
                    // A repository's own folder was gone through with what stands beside it.
                    if path.ends_with(".git") && path != start {
                        continue;
                    }
                    if is_git(&path) {
                        self.history(&path);
                    }
                    if is_bare(&path) {
                        continue;
                    }
                    match fs::read_dir(&path) {
                        Ok(entries) => open.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.path()))),
                        Err(error) => self.could_not(&path, &error),
                    }
                }
                Ok(kind) if kind.is_file() => match File::open(&path) {
                    Ok(file) => self.tell(findings(file), &path.display().to_string()),
                    Err(error) => self.could_not(&path, &error),
                },
                // A device or a socket holds no files.
                Ok(_) => {}
            }
        }
    }

    /// All objects of a repository, also those that no branch leads to any more.
    fn history(&mut self, repository: &Path) {
        match self.objects(repository) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                let paths = paths_of(repository);
                for (object, finding) in found {
                    let name = paths.get(&object).map(String::as_str).unwrap_or_default();
                    let short = object.get(..12).unwrap_or(&object);
                    self.show(&finding, &format!("{} (git {short} {name})", repository.display()));
                }
            }
            Err(error) => {
                self.unread += 1;
                let place = plain(&repository.display().to_string());
                eprintln!("keyward: the git history of {place} was not gone through: {error}");
            }
        }
    }

    fn objects(&mut self, repository: &Path) -> io::Result<Vec<(String, Finding)>> {
        let arguments = ["cat-file", "--batch-all-objects", "--unordered", "--batch"];
        let mut git = git(repository).args(arguments).stdout(Stdio::piped()).spawn()?;
        let mut out = BufReader::with_capacity(CHUNK, git.stdout.take().ok_or_else(io::Error::last_os_error)?);
        let (mut found, mut head) = (Vec::new(), String::new());
        loop {
            head.clear();
            if out.read_line(&mut head)? == 0 {
                break;
            }
            let mut parts = head.split_whitespace();
            let (Some(object), Some(kind), Some(Ok(size))) =
                (parts.next(), parts.next(), parts.next().map(str::parse::<u64>))
            else {
                return Err(io::Error::other(format!("git answered {:?}", head.trim())));
            };
            let mut content = (&mut out).take(size);
            if kind != "tree" {
                self.objects += 1;
                found.extend(findings(&mut content)?.into_iter().map(|finding| (object.to_owned(), finding)));
            }
            io::copy(&mut content, &mut io::sink())?;
            out.read_exact(&mut [0])?;
        }
        match git.wait()?.success() {
            true => Ok(found),
            false => Err(io::Error::other("git cat-file failed, and says above why")),
        }
    }

    fn tell(&mut self, found: io::Result<Vec<Finding>>, place: &str) {
        match found {
            Ok(found) => {
                self.files += 1;
                found.iter().for_each(|finding| self.show(finding, place));
            }
            Err(error) => self.could_not(Path::new(place), &error),
        }
    }

    fn show(&mut self, finding: &Finding, place: &str) {
        self.found += 1;
        let kind = match finding.what.kind {
            TokenKind::Agent => "agent key",
            TokenKind::Management => "management token",
        };
        println!("{}:{}:{}: {kind} {}", plain(place), finding.line, finding.column, finding.what.mask);
    }

    fn could_not(&mut self, path: &Path, error: &io::Error) {
        self.unread += 1;
        eprintln!("keyward: {} was not read: {error}", plain(&path.display().to_string()));
    }
}

fn is_bare(path: &Path) -> bool {
    path.join("HEAD").is_file() && path.join("objects").is_dir()
}

fn is_git(path: &Path) -> bool {
    is_bare(path) || path.join(".git").exists()
}

/// git, which may neither write nor fetch: a repository's own settings could say with which command.
fn git(repository: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(repository).stdin(Stdio::null());
    git.envs([("GIT_OPTIONAL_LOCKS", "0"), ("GIT_NO_LAZY_FETCH", "1"), ("GIT_ALLOW_PROTOCOL", "none")]);
    git
}

/// A name as it can be printed: whoever named a file does not write to the terminal.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Under which path an object was committed; objects without one are not here.
fn paths_of(repository: &Path) -> HashMap<String, String> {
    let listed = git(repository).args(["rev-list", "--objects", "--all"]).output();
    let text = listed.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned()).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(object, path)| (object.to_owned(), path.to_owned())).collect()
}

/// The tokens in what is read, part by part, so that a log of any size can be gone through.
fn findings(mut from: impl Read) -> io::Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut part: Vec<u8> = Vec::with_capacity(CHUNK + MAX_TOKEN_LEN);
    // Where the part stands: its place, the line it begins in, and where that line began.
    let (mut start, mut line, mut line_start, mut told) = (0_u64, 1_u64, 0_u64, None);
    loop {
        let kept = part.len();
        let read = (&mut from).take(CHUNK as u64).read_to_end(&mut part)?;
        if read == 0 {
            return Ok(found);
        }
        for what in find_tokens(&part) {
            let at = start + what.at as u64;
            // One that stood whole in what was kept of the part before was told then.
            if told.is_some_and(|told| at <= told) {
                continue;
            }
            told = Some(at);
            let before = &part[..what.at];
            let newline = memchr::memrchr(b'\n', before).map_or(line_start, |newline| start + newline as u64 + 1);
            let line = line + memchr::memchr_iter(b'\n', before).count() as u64;
            found.push(Finding { line, column: at - newline + 1, what });
        }
        debug_assert!(kept < MAX_TOKEN_LEN);
        let gone = part.len().saturating_sub(MAX_TOKEN_LEN - 1);
        line += memchr::memchr_iter(b'\n', &part[..gone]).count() as u64;
        if let Some(newline) = memchr::memrchr(b'\n', &part[..gone]) {
            line_start = start + newline as u64 + 1;
        }
        part.drain(..gone);
        start += gone as u64;
    }
}

#[cfg(test)]
mod tests {
    use vault::{AgentSecret, Entropy};

    use super::*;

    #[test]
    fn a_token_is_found_once_wherever_the_parts_meet() {
        let secret = AgentSecret::mint(TokenKind::Management, &Entropy::system()).expect("a secret");
        let mask = secret.mask();
        let secret = secret.expose_once();
        for before in (CHUNK - 2 * MAX_TOKEN_LEN..CHUNK + 2 * MAX_TOKEN_LEN).chain([0, 1]) {
            let mut text = vec![b'x'; before];
            if before > 20 {
                text[10] = b'\n';
            }
            text.extend_from_slice(secret.as_bytes());
            text.extend_from_slice(&[b'k'; 100]);
            let found = findings(text.as_slice()).expect("read");
            let (line, column) = if before > 20 { (2, before as u64 - 10) } else { (1, before as u64 + 1) };
            let found: Vec<_> = found.into_iter().map(|it| (it.line, it.column, it.what.mask)).collect();
            assert_eq!(found, [(line, column, mask.clone())], "behind {before} bytes");
        }
    }
}
