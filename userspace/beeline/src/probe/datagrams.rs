//! UDP in a pod's place: a server that says who it is, and a client that counts the answers.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::output;

/// An answer that takes longer has failed.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;

pub fn answer(port: u16, text: &str) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))
        .with_context(|| format!("bind UDP port {port}"))?;
    output::line("ready");
    let text = text.to_owned();
    std::thread::spawn(move || {
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(format!("{text} {length}").as_bytes(), from);
        }
    });
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}

/// Connected and unconnected sockets in turn: the kernel translates them in different places.
pub fn send(
    target: SocketAddrV4,
    count: u32,
    bytes: usize,
) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut answers = BTreeMap::new();
    for number in 0..count {
        let who = match number % 2 {
            0 => connected(target, bytes),
            _ => unconnected(target, bytes),
        };
        let who = who.with_context(|| format!("datagram {number} to {target}"))?;
        *answers.entry(who).or_default() += 1;
    }
    Ok(answers)
}

fn connected(target: SocketAddrV4, bytes: usize) -> anyhow::Result<String> {
    let socket = socket()?;
    socket.connect(target).context("connect")?;
    ensure!(socket.peer_addr()? == SocketAddr::from(target), "the peer is {}", socket.peer_addr()?);
    socket.send(&vec![b'x'; bytes]).context("send")?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).context("receive")?;
    who(&answer[..length], bytes)
}

fn unconnected(target: SocketAddrV4, bytes: usize) -> anyhow::Result<String> {
    let socket = socket()?;
    socket.send_to(&vec![b'x'; bytes], target).context("send")?;
    let mut answer = [0; 512];
    let (length, from) = socket.recv_from(&mut answer).context("receive")?;
    ensure!(from == SocketAddr::from(target), "the answer came from {from}");
    who(&answer[..length], bytes)
}

fn socket() -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind")?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    Ok(socket)
}

/// Who answered; it must have seen all of the datagram.
fn who(answer: &[u8], bytes: usize) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(answer);
    let (who, length) = text.rsplit_once(' ').context("understand the answer")?;
    ensure!(length == bytes.to_string(), "{who} received {length} of {bytes} bytes");
    Ok(who.to_owned())
}
