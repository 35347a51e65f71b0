//! One exchange in bytes, for what no client library would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::in_time;

/// Sends `request` as it stands and reads until the server closes; say `Connection: close` in it.
pub async fn exchange(url: &str, request: impl AsRef<[u8]>) -> String {
    let address = url.strip_prefix("http://").expect("a plain URL");
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses early may close before all is written; its answer is read all the same.
    let _ = stream.write_all(request.as_ref()).await;
    let mut answer = Vec::new();
    let _ = in_time("the connection's end", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}
