//! The server behind every endpoint. What it does with a connection follows from the first byte it is sent.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

/// Answer one byte and close.
pub const ASK: u8 = b'a';
/// Answer with the endpoint's own IPv4 address and close.
pub const WHO: u8 = b'w';
/// Answer every byte with one, until the client closes.
pub const ECHO: u8 = b'e';
/// Take all that comes, until the client closes.
pub const SINK: u8 = b's';

/// The usual 128 overflow when the acceptor loses its core, and a lost SYN is a second of waiting.
const ACCEPT_QUEUE: i32 = 4096;

/// Serve a port of every address on a thread of its own, until the process ends.
pub fn listen(port: u16) -> io::Result<()> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let listener = TcpListener::bind(any)?;
    rustix::net::listen(&listener, ACCEPT_QUEUE)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever connects and resets has nothing to say.
            let _ = begin(stream);
        }
    });
    Ok(())
}

fn begin(mut stream: TcpStream) -> io::Result<()> {
    let mut first = [0];
    stream.read_exact(&mut first)?;
    match first[0] {
        ASK => stream.write_all(&[ASK]),
        WHO => match stream.local_addr()?.ip() {
            IpAddr::V4(address) => stream.write_all(&address.octets()),
            IpAddr::V6(address) => stream.write_all(&address.octets()),
        },
        ECHO => {
            std::thread::spawn(move || echo(&mut stream));
            Ok(())
        }
        SINK => {
            std::thread::spawn(move || sink(&mut stream));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
    }
}

fn sink(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    while stream.read(&mut buffer)? > 0 {}
    stream.write_all(&[SINK])
}
