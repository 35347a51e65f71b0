//! Connections of callers: how many one address may have, and how long a first head may take.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Home, TestServer, in_time};

async fn connect(keyward: &TestServer, from: [u8; 4]) -> TcpStream {
    let address: SocketAddr = keyward.url().trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(address).await.unwrap()
}

/// Whether a request on it is answered; not where the connection was closed as it came.
async fn is_answered(stream: &mut TcpStream) -> bool {
    if stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.is_err() {
        return false;
    }
    let mut first = [0_u8; 12];
    in_time("an answer or the end", stream.read_exact(&mut first)).await.is_ok() && first == *b"HTTP/1.1 200"
}

#[tokio::test]
async fn one_address_does_not_take_the_connections_of_all_others() {
    let home = Home::new().await;
    let keyward = home.serve().launched_by(&["prlimit", "--nofile=400"]).start().await;
    let mut kept = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        let mut stream = connect(&keyward, [127, 0, 0, 2]).await;
        if is_answered(&mut stream).await {
            kept.push(stream);
        } else {
            refused += 1;
        }
    }
    assert!(refused > 50 && kept.len() > 20, "{} kept, {refused} refused", kept.len());
    // Elsewhere there is room, as often as one asks.
    let mut others = Vec::new();
    for _ in 0..20 {
        let mut other = connect(&keyward, [127, 0, 0, 3]).await;
        assert!(is_answered(&mut other).await, "{}", keyward.log());
        others.push(other);
    }
    drop(others);
    let api = keyward.api();
    let metrics = api.send(api.outside(http::Method::GET, "/metrics")).await.expect(200).text();
    assert!(metrics.contains(&format!("keyward_connections_refused_total {refused}\n")), "{metrics}");
    assert!(keyward.log().contains("connections are refused"), "{}", keyward.log());
    // Their places come back with their end.
    drop(kept);
    crate::harness::until("room for that address", async || {
        let mut stream = connect(&keyward, [127, 0, 0, 2]).await;
        is_answered(&mut stream).await
    })
    .await;
}

#[tokio::test]
async fn a_first_head_that_never_ends_does_not_keep_its_connection() {
    let keyward = Home::new().await.serve().with_time_running(8).start().await;
    let mut begun = connect(&keyward, [127, 0, 0, 2]).await;
    let mut asked = connect(&keyward, [127, 0, 0, 3]).await;
    assert!(is_answered(&mut asked).await);
    begun.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    let mut rest = Vec::new();
    // Closed, with or without a word.
    let _ = in_time("the end of the slow one", begun.read_to_end(&mut rest)).await;
    // Who has asked before may take longer for the next head.
    let mut whole = vec![0_u8; 4096];
    let read = asked.try_read(&mut whole).unwrap_or(0);
    assert!(read > 0, "the rest of the first answer");
    assert!(is_answered(&mut asked).await);
}
