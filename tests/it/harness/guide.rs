//! Configurations that the guides tell others to use, in the programs that they are for.

use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{Port, eventually, in_repository};

/// The code block of a guide that stands between the markers of that name.
pub fn text_of(guide: &str, name: &str) -> String {
    let text = std::fs::read_to_string(in_repository(guide)).unwrap();
    let (_, rest) = text.split_once(&format!("<!-- {name} -->\n```")).expect("the guide's first marker");
    let (_, rest) = rest.split_once('\n').unwrap();
    let (text, _) = rest.split_once(&format!("```\n<!-- /{name} -->")).expect("the guide's second marker");
    text.to_owned()
}

/// A proxy that runs with a guide's text.
#[derive(Debug)]
pub struct Proxied {
    port: Port,
    _process: Child,
    _folder: TempDir,
}

impl Proxied {
    /// Starts `program` with the text, in a file called `file`, in which each of `places` stands once and is replaced;
    /// `listen` by what it makes of a port.
    pub async fn start(
        program: &str,
        arguments: &[&str],
        (file, text): (&str, String),
        listen: (&str, impl Fn(&Port) -> String),
        places: &[(&str, String)],
    ) -> Self {
        let port = Port::claim();
        let mut text = text;
        for (place, here) in
            places.iter().map(|(place, here)| (*place, here.clone())).chain([(listen.0, listen.1(&port))])
        {
            assert_eq!(text.matches(place).count(), 1, "the configuration has {place} once");
            text = text.replace(place, &here);
        }
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(file);
        std::fs::write(&path, text).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut process = Command::new(program)
            .args(arguments)
            .arg(&path)
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs it"));
        let address = port.address();
        eventually(program, async || {
            let said = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(process.try_wait().unwrap().is_none(), "{program} refuses the configuration:\n{}", said());
            tokio::net::TcpStream::connect(&address).await.ok()
        })
        .await;
        Self { port, _process: process, _folder: folder }
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        self.port.url()
    }
}
