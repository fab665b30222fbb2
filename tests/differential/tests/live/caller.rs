//! A process of this very binary that stands in a network namespace and a cgroup, and calls whom it is told to.
//!
//! A line in: a number, then a [`Request`]. A line out: the number, then the answers. Requests run side by side.

use std::{
    collections::HashMap,
    env, fmt, fs,
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use beeline_test_differential::outcome::Answer;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

const CGROUP: &str = "BEELINE_TEST_CGROUP";
const MARK: &str = "@ ";

/// What a caller is to do.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub tcp: bool,
    pub to: SocketAddr,
    pub source: Option<IpAddr>,
    /// Calls at least.
    pub least: usize,
    /// Calls at most, until so many servers have answered.
    pub most: usize,
    pub servers: usize,
    pub patience: Duration,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tcp, to, source, least, most, servers, patience } = self;
        let source = source.map_or("-".to_owned(), |source| source.to_string());
        let patience_ms = patience.as_millis();
        write!(f, "{tcp} {to} {source} {least} {most} {servers} {patience_ms}")
    }
}

impl Request {
    fn read(words: &[&str]) -> Self {
        let [tcp, to, source, least, most, servers, patience_ms] = words else {
            panic!("not a request: {words:?}")
        };
        Self {
            tcp: *tcp == "true",
            to: to.parse().unwrap(),
            source: source.parse().ok(),
            least: least.parse().unwrap(),
            most: most.parse().unwrap(),
            servers: servers.parse().unwrap(),
            patience: Duration::from_millis(patience_ms.parse().unwrap()),
        }
    }
}

type Waiting = Arc<Mutex<HashMap<usize, Sender<String>>>>;

/// A running caller; killed when dropped.
pub struct Caller {
    child: Child,
    input: Mutex<(usize, ChildStdin)>,
    waiting: Waiting,
}

impl Caller {
    /// Starts one. Without a cgroup it stays where this process is.
    pub fn start(namespace: &Path, cgroup: Option<&Path>) -> Self {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", namespace.display()))
            .arg(env::current_exe().unwrap())
            .args(["caller_process", "--exact", "--nocapture"])
            .env(CGROUP, cgroup.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = Mutex::new((0, child.stdin.take().unwrap()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let waiting = Waiting::default();
        let hand_out = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The test harness of that process writes to the same pipe.
                let Some((_, answer)) = line.split_once(MARK) else { continue };
                let (number, answers) = answer.split_once(' ').unwrap();
                let asker = hand_out.lock().unwrap().remove(&number.parse().unwrap());
                let _ = asker.unwrap().send(answers.to_owned());
            }
            // Whoever still waits is told by the end of its channel.
            hand_out.lock().unwrap().clear();
        });
        Self { child, input, waiting }
    }

    /// Calls, and says what was answered.
    pub fn call(&self, request: &Request) -> Vec<Answer> {
        let receiver = self.send(request);
        let answers = receiver.recv().unwrap_or_else(|_| panic!("the caller ended at {request}"));
        answers.split(';').map(Answer::read).collect()
    }

    fn send(&self, request: &Request) -> Receiver<String> {
        let (sender, receiver) = channel();
        let mut input = self.input.lock().unwrap();
        input.0 += 1;
        let number = input.0;
        self.waiting.lock().unwrap().insert(number, sender);
        writeln!(input.1, "{number} {request}").unwrap();
        receiver
    }
}

impl Caller {
    /// Ends it; a second time nothing happens.
    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.end();
    }
}

/// The caller's side. Does nothing in an ordinary test run.
pub fn serve() {
    let Some(cgroup) = env::var_os(CGROUP) else { return };
    if !cgroup.is_empty() {
        fs::write(Path::new(&cgroup).join("cgroup.procs"), "0").unwrap();
    }
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        std::thread::spawn(move || {
            let words: Vec<&str> = line.split(' ').collect();
            let answers = repeat(&Request::read(&words[1..])).join(";");
            // At once, so that lines stay whole.
            println!("\n{MARK}{} {answers}", words[0]);
        });
    }
}

/// Calls until enough is known; silence is not tried again.
fn repeat(request: &Request) -> Vec<String> {
    let mut answers: Vec<String> = Vec::new();
    for turn in 0..request.most {
        let mut known = answers.clone();
        known.sort();
        known.dedup();
        let silent = answers.last().is_some_and(|answer| answer == "silence");
        if silent || (turn >= request.least && known.len() >= request.servers) {
            return known;
        }
        let answer = if request.tcp { stream(request) } else { datagram(request, turn) };
        answers.push(answer.unwrap_or_else(|error| name(&error)));
    }
    answers.sort();
    answers.dedup();
    answers
}

fn name(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "refused".to_owned(),
        ErrorKind::PermissionDenied => "forbidden".to_owned(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "silence".to_owned(),
        kind => format!("error {kind}"),
    }
}

fn family(request: &Request) -> AddressFamily {
    if request.to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn stream(request: &Request) -> std::io::Result<String> {
    let made = socket(family(request), SocketType::STREAM, None)?;
    if let Some(source) = request.source {
        bind(&made, &SocketAddr::new(source, 0))?;
    }
    // A connect that is given less time than the kernel would take ends as if nobody had answered.
    let patience = Some(request.patience);
    rustix::net::sockopt::set_socket_timeout(&made, rustix::net::sockopt::Timeout::Send, patience)?;
    match connect(&made, &request.to) {
        Err(rustix::io::Errno::INPROGRESS) => return Err(ErrorKind::TimedOut.into()),
        done => done?,
    }
    let mut stream = std::net::TcpStream::from(made);
    stream.set_read_timeout(patience)?;
    let peer = stream.peer_addr()?;
    let mut line = String::new();
    stream.read_to_string(&mut line)?;
    Ok(if peer == request.to { line } else { format!("peer {peer}") })
}

/// A connected socket first, then one that is not, turn by turn; the latter only where somebody answers, since nobody
/// tells it of refusals.
fn datagram(request: &Request, turn: usize) -> std::io::Result<String> {
    let any = if request.to.is_ipv4() { "0.0.0.0" } else { "::" };
    let source = request.source.unwrap_or(any.parse().unwrap());
    let socket = UdpSocket::bind((source, 0))?;
    socket.set_read_timeout(Some(request.patience))?;
    let sent = if turn % 2 == 1 && request.servers > 0 {
        socket.send_to(b"?", request.to)
    } else {
        socket.connect(request.to)?;
        socket.send(b"?")
    };
    let mut buffer = [0; 128];
    if let Err(error) = sent {
        // What the node's own rules refuse is both not permitted and, an instant later, refused.
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let refused = socket
            .recv(&mut buffer)
            .is_err_and(|later| later.kind() == ErrorKind::ConnectionRefused);
        return Err(if refused { ErrorKind::ConnectionRefused.into() } else { error });
    }
    let (length, from) = socket.recv_from(&mut buffer)?;
    let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
    Ok(if from == request.to { line } else { format!("peer {from}") })
}
