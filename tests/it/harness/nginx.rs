//! Debian's nginx, with a configuration that this repository tells others to use.

use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{Port, eventually};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    port: Port,
    _process: Child,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it with the text of an `http` block, in which each of `places`, and `listen 80;`, stands once and is given
    /// another address.
    pub async fn start(text: &str, places: &[(impl AsRef<str>, String)]) -> Self {
        let port = Port::claim();
        let folder = TempDir::new().unwrap();
        let listen = ("listen 80;", format!("listen {};", port.address()));
        let places = places.iter().map(|(place, here)| (place.as_ref(), here));
        let mut text = text.to_owned();
        for (place, here) in places.chain([(listen.0, &listen.1)]) {
            assert_eq!(text.matches(place).count(), 1, "the configuration has {place} once");
            text = text.replace(place, here);
        }
        let path = folder.path().join("nginx.conf");
        let whole = format!(
            "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log {0}/error.log info;\nevents {{}}\nhttp {{\n\
             access_log off;\nclient_body_temp_path {0}/b;\nproxy_temp_path {0}/p;\nfastcgi_temp_path {0}/f;\n\
             uwsgi_temp_path {0}/u;\nscgi_temp_path {0}/s;\n{text}\n}}\n",
            folder.path().display()
        );
        std::fs::write(&path, whole).unwrap();
        let mut process = Command::new("nginx")
            .args(["-c".as_ref(), path.as_os_str(), "-e".as_ref(), folder.path().join("early.log").as_os_str()])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("Debian's nginx is installed: `cargo xtask test` does that");
        let address = port.address();
        eventually("nginx", async || {
            assert!(process.try_wait().unwrap().is_none(), "nginx refuses the configuration");
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
