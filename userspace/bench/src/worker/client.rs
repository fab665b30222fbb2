//! What a client measures.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{
    protocol::{Answer, Latency},
    server,
};

/// Whatever takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(5);
/// Connections that are not measured, so that caches are warm.
const WARM_UP: usize = 50;
/// How much is written at once.
const BULK_BYTES: usize = 128 * 1024;

/// Connect and reset, one after another.
pub fn connect(targets: &[SocketAddr], count: usize) -> io::Result<Answer> {
    let mut times = Vec::with_capacity(count);
    for (number, target) in targets.iter().cycle().take(WARM_UP + count).enumerate() {
        let start = Instant::now();
        let stream =
            TcpStream::connect_timeout(target, LIMIT).map_err(|error| at(*target, &error))?;
        let took = start.elapsed();
        reset_on_close(&stream)?;
        if number >= WARM_UP {
            times.push(micros(took));
        }
    }
    Ok(Answer::Latency(Latency::of(times)))
}

/// Connect, ask, hear the answer and the end, one after another.
pub fn exchange(targets: &[SocketAddr], duration: Duration) -> io::Result<Answer> {
    let start = Instant::now();
    let mut count = 0;
    for target in targets.iter().cycle() {
        ask(*target, server::ASK, &mut [0])?;
        count += 1;
        if start.elapsed() >= duration {
            break;
        }
    }
    Ok(Answer::Count { count, nanos: nanos(start.elapsed()) })
}

/// Ask and hear the answer over one connection.
pub fn round_trips(target: SocketAddr, count: usize) -> io::Result<Answer> {
    let mut stream = open(target)?;
    stream.write_all(&[server::ECHO])?;
    let mut times = Vec::with_capacity(count);
    let mut byte = [0];
    for number in 0..WARM_UP + count {
        let start = Instant::now();
        stream.write_all(&[1])?;
        stream.read_exact(&mut byte)?;
        if number >= WARM_UP {
            times.push(micros(start.elapsed()));
        }
    }
    Ok(Answer::Latency(Latency::of(times)))
}

/// Send as much as goes over one connection.
pub fn bulk(target: SocketAddr, duration: Duration) -> io::Result<Answer> {
    let mut stream = open(target)?;
    stream.write_all(&[server::SINK])?;
    let buffer = vec![0; BULK_BYTES];
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < duration {
        stream.write_all(&buffer)?;
        count += BULK_BYTES as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // The time includes that of the last byte's arrival.
    stream.read_exact(&mut [0])?;
    Ok(Answer::Count { count, nanos: nanos(start.elapsed()) })
}

/// Connect until a certain endpoint answers.
pub fn wait_for(target: SocketAddr, endpoint: SocketAddr, limit: Duration) -> io::Result<Answer> {
    let start = Instant::now();
    let IpAddr::V4(wanted) = endpoint.ip() else {
        return Err(io::Error::other("only IPv4 endpoints say who they are"));
    };
    loop {
        let mut who = [0; 4];
        ask(target, server::WHO, &mut who)?;
        if who == wanted.octets() {
            return Ok(Answer::Nanos(nanos(start.elapsed())));
        }
        if start.elapsed() > limit {
            let text = format!("{endpoint} did not answer at {target} within {limit:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
    }
}

fn ask(target: SocketAddr, question: u8, answer: &mut [u8]) -> io::Result<()> {
    let mut stream = open(target)?;
    stream.write_all(&[question])?;
    stream.read_exact(answer).map_err(|error| at(target, &error))?;
    // The server closes first: waiting for that, the next connection does not race with the end of this one.
    let _ = stream.read(&mut [0])?;
    reset_on_close(&stream)
}

fn open(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, LIMIT).map_err(|error| at(target, &error))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Tens of thousands of connections must not use up the ports.
fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?)
}

fn at(target: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{target}: {error}"))
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
