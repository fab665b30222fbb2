//! A process of this very binary that joins a cgroup and answers one line for each line it is told.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpStream, UdpSocket},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

const CGROUP: &str = "BEELINE_TEST_CGROUP";
const MARK: &str = "@ ";
const PATIENCE: Duration = Duration::from_millis(1500);

/// A running helper; killed when dropped.
pub struct Helper {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Helper {
    pub fn start(namespace: &Path, cgroup: &Path) -> Self {
        let mut child = Command::new("nsenter")
            .arg(format!("--net={}", namespace.display()))
            .arg(env::current_exe().unwrap())
            .args(["helper_process", "--exact", "--nocapture"])
            .env(CGROUP, cgroup)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pipes = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let helper = Self { child, pipes: Mutex::new(pipes) };
        assert_eq!(helper.ask("hello"), "here");
        helper
    }

    /// Tell it something and wait for its answer.
    pub fn ask(&self, command: &str) -> String {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(pipes.0, "{command}").unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(pipes.1.read_line(&mut line).unwrap(), 0, "the helper ended at {command:?}");
            // The test harness of the helper writes to the same pipe.
            if let Some((_, answer)) = line.split_once(MARK) {
                return answer.trim_end().to_owned();
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The helper's side. Does nothing in an ordinary test run.
pub fn serve() {
    let Some(cgroup) = env::var_os(CGROUP) else { return };
    fs::write(Path::new(&cgroup).join("cgroup.procs"), "0").unwrap();
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        println!("\n{MARK}{}", answer(&words, &mut streams));
    }
}

fn answer(words: &[&str], streams: &mut Vec<Option<TcpStream>>) -> String {
    match words {
        ["hello"] => "here".to_owned(),
        ["connect", to] => match TcpStream::connect_timeout(&to.parse().unwrap(), PATIENCE) {
            Ok(stream) => {
                let peer = stream.peer_addr().unwrap();
                streams.push(Some(stream));
                format!("peer={peer}")
            }
            Err(error) => format!("error {}", error.kind()),
        },
        ["talk", index] => {
            let stream = streams[index.parse::<usize>().unwrap()].as_mut().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut port = [0; 4];
            match stream.write_all(b"?").and_then(|()| stream.read_exact(&mut port)) {
                Ok(()) => String::from_utf8_lossy(&port).into_owned(),
                Err(error) => format!("error {}", error.kind()),
            }
        }
        ["close", index] => {
            streams[index.parse::<usize>().unwrap()] = None;
            "closed".to_owned()
        }
        ["udp", to] => {
            // To a mapped address from a dual-stack socket.
            let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut buffer = [0; 16];
            match socket.send_to(b"?", to).and_then(|_| socket.recv_from(&mut buffer)) {
                Ok((_, from)) => format!("from={from}"),
                Err(error) => format!("error {}", error.kind()),
            }
        }
        other => panic!("unknown command {other:?}"),
    }
}
