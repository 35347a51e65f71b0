//! As much of HTTP as the benchmark's own calls need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A kept connection to a local port.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Opens it.
    pub fn open(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self(BufReader::new(stream)))
    }

    /// One call: the status and the body.
    pub fn call(&mut self, method: &str, path: &str, bearer: &str, body: &str) -> Result<(u16, String), String> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {bearer}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let status = self.line()?;
        let status =
            status.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or(format!("no answer: {status}"))?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(text) = line.strip_prefix("content-length:") {
                length = text.trim().parse().map_err(|_| line.clone())?;
            }
            chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
        }
        let body = if chunked { self.chunks()? } else { self.exactly(length)? };
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.0.read_line(&mut line).map_err(|error| error.to_string())?;
        Ok(line.trim_end().to_owned())
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(|error| error.to_string())?;
            body.extend(self.exactly(size)?);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

/// The text of the first member of that name in a JSON document of ours.
pub fn member<'a>(json: &'a str, name: &str) -> Result<&'a str, String> {
    let start = json.find(&format!("\"{name}\":")).ok_or_else(|| format!("no {name} in {json}"))?;
    let rest = json[start + name.len() + 3..].trim_start();
    match rest.strip_prefix('"') {
        Some(text) => Ok(text.split('"').next().unwrap_or_default()),
        None => Ok(rest.split([',', '}', ']']).next().unwrap_or_default().trim()),
    }
}
