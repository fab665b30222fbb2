//! The agent's end of one shim's socket: a task that writes requests, matches replies, passes events on.
//! In: requests. Out: replies within a deadline, events, and one notice when the shim is gone.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use beeline_kit::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::{Inner, blocking, lock};
use crate::runtime::{ContainerState, PodUid, Result, RuntimeError, SandboxSpec};
use crate::shim::SOCKET;
use crate::shim::protocol::{
    ClientFrame, Refusal, Reply, Request, ServerFrame, ShimConfig, ShimState, encode, take_frame,
};

/// Requests under way at once.
const REQUESTS_MAX: usize = 64;
/// How long any request may take. The slowest, creating a container, takes tens of milliseconds.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

type Answer = oneshot::Sender<std::result::Result<Reply, Refusal>>;

pub(super) struct Client {
    pod: PodUid,
    spec: SandboxSpec,
    requests: mpsc::Sender<(Request, Answer)>,
    /// The last state seen, for when the shim can no longer be asked.
    state: Arc<Mutex<ShimState>>,
    /// Its end is wanted: no news.
    expected: Arc<AtomicBool>,
}

impl Client {
    /// Connects, subscribes and starts the task.
    pub(super) async fn connect(
        pod: PodUid,
        dir: PathBuf,
        tasks: &Tasks,
        inner: Weak<Inner>,
    ) -> Result<Arc<Self>> {
        let (spec, stream) = blocking("connect to a shim", move || open(&dir)).await?;
        let shim = |why: String| RuntimeError::Shim { pod: pod.to_string(), why };
        stream.set_nonblocking(true).map_err(|e| shim(e.to_string()))?;
        let stream = UnixStream::from_std(stream).map_err(|e| shim(e.to_string()))?;
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let nothing = ShimState {
            pid: 0,
            start_ticks: 0,
            boot_id: String::new(),
            created_at: std::time::UNIX_EPOCH,
            containers: Vec::new(),
        };
        let state = Arc::new(Mutex::new(nothing));
        let expected = Arc::new(AtomicBool::new(false));
        let client = Arc::new(Self {
            pod: pod.clone(),
            spec,
            requests,
            state: Arc::clone(&state),
            expected: Arc::clone(&expected),
        });
        let token = tasks.token();
        tasks.spawn("shim connection", async move {
            let mut line = Line {
                pod,
                stream,
                received: Vec::new(),
                waiting: HashMap::new(),
                state,
                inner: inner.clone(),
                next: 0,
            };
            tokio::select! {
                () = line.run(queue) => {}
                // The agent ends; the shim goes on.
                () = token.cancelled() => return,
            }
            let Line { pod, state, waiting, .. } = line;
            drop(waiting);
            let state = lock(&state).clone();
            if let (false, Some(inner)) =
                (expected.load(Ordering::SeqCst) || state.pid == 0, inner.upgrade())
            {
                inner.died(pod, state).await;
            }
        });
        client.ask(Request::Subscribe).await?;
        Ok(client)
    }

    pub(super) fn pod(&self) -> &PodUid {
        &self.pod
    }

    pub(super) fn spec(&self) -> &SandboxSpec {
        &self.spec
    }

    pub(super) fn last_state(&self) -> ShimState {
        lock(&self.state).clone()
    }

    /// From now on the end of the connection is what we want.
    pub(super) fn expect_end(&self) {
        self.expected.store(true, Ordering::SeqCst);
    }

    pub(super) async fn ask(&self, request: Request) -> Result<Reply> {
        let (answer, reply) = oneshot::channel();
        let gone =
            || RuntimeError::Shim { pod: self.pod.to_string(), why: "it is gone".to_owned() };
        let exchange = async {
            self.requests.send((request, answer)).await.map_err(|_| gone())?;
            reply
                .await
                .map_err(|_| gone())?
                .map_err(|refusal| refusal.into_error(self.pod.as_str()))
        };
        tokio::time::timeout(REPLY_TIMEOUT, exchange).await.unwrap_or_else(|_| {
            let why = format!("no answer within {} s", REPLY_TIMEOUT.as_secs());
            Err(RuntimeError::Shim { pod: self.pod.to_string(), why })
        })
    }
}

fn open(dir: &std::path::Path) -> Result<(SandboxSpec, std::os::unix::net::UnixStream)> {
    let path = dir.join("config");
    let bytes = std::fs::read(&path)
        .map_err(|e| RuntimeError::io(format!("read {}", path.display()), e))?;
    let config: ShimConfig = postcard::from_bytes(&bytes).map_err(|e| {
        RuntimeError::io(format!("read {}", path.display()), std::io::Error::other(e))
    })?;
    let attempt = || format!("connect to {}/{SOCKET}", dir.display());
    // Through a descriptor: the full path may be longer than a socket address.
    let handle = std::fs::File::open(dir).map_err(|e| RuntimeError::io(attempt(), e))?;
    let short = format!("/proc/self/fd/{}/{SOCKET}", handle.as_raw_fd());
    let stream = std::os::unix::net::UnixStream::connect(short)
        .map_err(|e| RuntimeError::io(attempt(), e))?;
    Ok((config.spec, stream))
}

/// The task's side of the connection.
struct Line {
    pod: PodUid,
    stream: UnixStream,
    received: Vec<u8>,
    waiting: HashMap<u32, Answer>,
    state: Arc<Mutex<ShimState>>,
    inner: Weak<Inner>,
    next: u32,
}

impl Line {
    /// Runs until either side ends the connection.
    async fn run(&mut self, mut queue: mpsc::Receiver<(Request, Answer)>) {
        let mut buffer = vec![0u8; 16 << 10];
        loop {
            let alive = tokio::select! {
                asked = queue.recv() => match asked {
                    Some((request, answer)) => self.send(request, answer).await,
                    // The client was dropped, after its pod was removed.
                    None => return,
                },
                read = self.stream.read(&mut buffer) => match read {
                    Ok(read) if read > 0 => self.take(&buffer[..read]),
                    _ => return,
                },
            };
            if !alive {
                return;
            }
        }
    }

    async fn send(&mut self, request: Request, answer: Answer) -> bool {
        self.next = self.next.wrapping_add(1);
        let frame = match encode(&ClientFrame { id: self.next, request }) {
            Ok(frame) => frame,
            Err(why) => {
                // Whoever asked may have stopped waiting.
                let _ = answer.send(Err(Refusal::Failed(why)));
                return true;
            }
        };
        self.waiting.insert(self.next, answer);
        self.stream.write_all(&frame).await.is_ok()
    }

    fn take(&mut self, bytes: &[u8]) -> bool {
        self.received.extend_from_slice(bytes);
        loop {
            let frame = match take_frame(&mut self.received) {
                Ok(Some(frame)) => frame,
                Ok(None) => return true,
                Err(why) => {
                    tracing::error!(pod = %self.pod, why, "the shim does not speak our protocol");
                    return false;
                }
            };
            match postcard::from_bytes(&frame) {
                Ok(frame) => self.on_frame(frame),
                Err(error) => {
                    tracing::error!(pod = %self.pod, %error, "the shim does not speak our protocol");
                    return false;
                }
            }
        }
    }

    fn on_frame(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Reply { id, result } => {
                if let Ok(Reply::State(state)) = &result {
                    lock(&self.state).clone_from(state);
                }
                if let Some(answer) = self.waiting.remove(&id) {
                    let _ = answer.send(result);
                }
            }
            ServerFrame::Exited { container, exit } => {
                for known in lock(&self.state).containers.iter_mut().filter(|c| c.id == container) {
                    known.state = ContainerState::Exited(exit.clone());
                }
                if let Some(inner) = self.inner.upgrade() {
                    inner.exited(&self.pod, container, exit);
                }
            }
        }
    }
}
