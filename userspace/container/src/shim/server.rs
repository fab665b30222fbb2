//! The shim's loop: one poll over signals, the socket, its connections and the containers' pipes. Nothing in it waits for a peer.
//! In: readiness. Out: replies, events, the state file. Ends after a shutdown request or SIGTERM, when every container has ended.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::SystemTime;

use beeline_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags};

use super::container::Container;
use super::protocol::{
    ClientFrame, Create, Refusal, Reply, Request, ServerFrame, ShimConfig, ShimState, encode,
    take_frame,
};
use crate::logs::Stream;
use crate::runtime::ContainerId;

/// Connections beyond this are turned away: one agent has one, and perhaps its successor another.
const CONNECTIONS_MAX: usize = 16;
/// A peer that does not read this much is cut off; it will ask for the state when it is back.
const UNSENT_BYTES_MAX: usize = 8 << 20;

pub(super) struct Server {
    config: ShimConfig,
    signals: SignalFd,
    listener: UnixListener,
    state: ShimState,
    containers: Vec<Container>,
    connections: Vec<Connection>,
    /// Removals that wait for the container's end, and whom to tell.
    removals: Vec<(ContainerId, Option<(u64, u32)>)>,
    shutdown: Option<Vec<(u64, u32)>>,
    connection_count: u64,
}

struct Connection {
    number: u64,
    stream: UnixStream,
    received: Vec<u8>,
    unsent: VecDeque<u8>,
    subscribed: bool,
    broken: bool,
}

/// What a polled descriptor belongs to.
enum Source {
    Signals,
    Listener,
    Connection(usize),
    Output(usize, Stream),
}

impl Server {
    pub(super) fn new(
        config: ShimConfig,
        signals: SignalFd,
        listener: UnixListener,
    ) -> Result<Self, String> {
        let pid = std::process::id();
        let start_ticks =
            beeline_sys::boot::process_start_ticks(pid).map_err(|e| e.to_string())?.unwrap_or(0);
        let boot_id = beeline_sys::boot::boot_id().map_err(|e| e.to_string())?;
        let state = ShimState {
            pid,
            start_ticks,
            boot_id,
            created_at: SystemTime::now(),
            containers: Vec::new(),
        };
        let mut server = Self {
            config,
            signals,
            listener,
            state,
            containers: Vec::new(),
            connections: Vec::new(),
            removals: Vec::new(),
            shutdown: None,
            connection_count: 0,
        };
        server
            .save()
            .map_err(|e| format!("write {}/state: {e}", server.config.pod_dir.display()))?;
        Ok(server)
    }

    /// Runs until there is nothing left to do.
    pub(super) fn run(&mut self) {
        while self.shutdown.is_none() || self.containers.iter().any(Container::is_alive) {
            for source in self.ready() {
                match source {
                    Source::Signals => self.on_signals(),
                    Source::Listener => self.accept(),
                    Source::Connection(index) => self.serve(index),
                    Source::Output(index, stream) => self.containers[index].drain(stream),
                }
            }
            self.connections.retain(|c| !c.broken);
        }
        for container in &self.containers {
            container.remove();
        }
        for (connection, id) in self.shutdown.take().unwrap_or_default() {
            self.reply(connection, id, Ok(Reply::Done));
        }
    }

    /// Waits for something to do and says what.
    fn ready(&self) -> Vec<Source> {
        let mut sources = vec![Source::Signals, Source::Listener];
        let mut fds = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        for (index, connection) in self.connections.iter().enumerate() {
            let unsent =
                if connection.unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            sources.push(Source::Connection(index));
            fds.push(PollFd::new(&connection.stream, PollFlags::IN | unsent));
        }
        for (index, container) in self.containers.iter().enumerate() {
            for stream in [Stream::Stdout, Stream::Stderr] {
                if let Some(pipe) = container.output(stream) {
                    sources.push(Source::Output(index, stream));
                    fds.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
                }
            }
        }
        // Interrupted means try again, which the caller's loop does.
        if rustix::event::poll(&mut fds, None).is_err() {
            return Vec::new();
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        // Pipes before signals, so that indexes still hold; removals happen only in `on_signals` and `serve`.
        let mut chosen: Vec<Source> =
            sources.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(s, _)| s).collect();
        chosen.reverse();
        chosen
    }

    fn on_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.next() {
            if signal == libc::SIGTERM {
                self.begin_shutdown(None);
            }
        }
        let mut changed = false;
        while let Ok(Some((pid, how))) = beeline_sys::process::reap() {
            let Some(container) = self.containers.iter_mut().find(|c| c.pid == pid) else {
                continue;
            };
            changed = true;
            if let Some(exit) = container.ended(how) {
                let frame = ServerFrame::Exited { container: container.status.id.clone(), exit };
                self.broadcast(&frame);
            }
        }
        if changed {
            self.finish_removals();
            // A state file that cannot be written is one that an agent cannot adopt from later; it still has the socket.
            let _ = self.save();
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.len() >= CONNECTIONS_MAX || stream.set_nonblocking(true).is_err() {
                continue;
            }
            self.connection_count += 1;
            self.connections.push(Connection {
                number: self.connection_count,
                stream,
                received: Vec::new(),
                unsent: VecDeque::new(),
                subscribed: false,
                broken: false,
            });
        }
    }

    fn serve(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.send();
        let requests = connection.receive();
        let number = connection.number;
        for ClientFrame { id, request } in requests {
            self.handle(number, id, request);
        }
    }

    fn handle(&mut self, connection: u64, id: u32, request: Request) {
        let result = match request {
            Request::Create(create) => self.create(&create).map(|()| Reply::Done),
            Request::Start(container) => self.start(&container).map(Reply::Started),
            Request::Signal(container, signal) => self
                .find(&container)
                .and_then(|c| c.signal(signal).map_err(Refusal::Failed))
                .map(|()| Reply::Done),
            Request::State => Ok(Reply::State(self.current())),
            Request::Subscribe => {
                self.connections
                    .iter_mut()
                    .filter(|c| c.number == connection)
                    .for_each(|c| c.subscribed = true);
                Ok(Reply::State(self.current()))
            }
            Request::Remove(container) => return self.begin_removal(container, (connection, id)),
            Request::Shutdown => return self.begin_shutdown(Some((connection, id))),
        };
        self.reply(connection, id, result);
    }

    fn create(&mut self, create: &Create) -> Result<(), Refusal> {
        if self.containers.iter().any(|c| c.status.id == create.id) {
            return Ok(());
        }
        if self.shutdown.is_some() {
            return Err(Refusal::Failed("the sandbox is being removed".to_owned()));
        }
        let container = Container::create(&self.config, create)?;
        self.containers.push(container);
        self.save().map_err(|e| Refusal::Failed(format!("write state: {e}")))
    }

    fn start(&mut self, id: &ContainerId) -> Result<SystemTime, Refusal> {
        let index = self.containers.iter().position(|c| c.status.id == *id);
        let index = index.ok_or_else(|| Refusal::NoContainer(id.to_string()))?;
        let started = self.containers[index].start(&self.config);
        self.save().map_err(|e| Refusal::Failed(format!("write state: {e}")))?;
        started
    }

    fn find(&self, id: &ContainerId) -> Result<&Container, Refusal> {
        self.containers
            .iter()
            .find(|c| c.status.id == *id)
            .ok_or_else(|| Refusal::NoContainer(id.to_string()))
    }

    fn begin_removal(&mut self, id: ContainerId, asker: (u64, u32)) {
        if let Ok(container) = self.find(&id) {
            // A process that cannot be signalled has ended; its removal then happens at once.
            let _ = container.signal(libc::SIGKILL);
        }
        self.removals.push((id, Some(asker)));
        self.finish_removals();
        let _ = self.save();
    }

    fn finish_removals(&mut self) {
        for (id, asker) in std::mem::take(&mut self.removals) {
            match self.containers.iter().position(|c| c.status.id == id) {
                Some(index) if self.containers[index].is_alive() => {
                    self.removals.push((id, asker));
                    continue;
                }
                Some(index) => self.containers.remove(index).remove(),
                None => {}
            }
            if let Some((connection, request)) = asker {
                self.reply(connection, request, Ok(Reply::Done));
            }
        }
    }

    fn begin_shutdown(&mut self, asker: Option<(u64, u32)>) {
        self.shutdown.get_or_insert_default().extend(asker);
        for container in &self.containers {
            let _ = container.signal(libc::SIGKILL);
        }
    }

    fn current(&mut self) -> ShimState {
        self.state.containers = self.containers.iter().map(|c| c.status.clone()).collect();
        self.state.clone()
    }

    /// Replaces the state file. Not synced: it outlives this process, and a reboot ends the containers as well.
    fn save(&mut self) -> std::io::Result<()> {
        let bytes = postcard::to_stdvec(&self.current()).map_err(std::io::Error::other)?;
        let temporary = self.config.pod_dir.join("state.new");
        std::fs::write(&temporary, bytes)?;
        std::fs::rename(temporary, self.config.pod_dir.join("state"))
    }

    fn reply(&mut self, connection: u64, id: u32, result: Result<Reply, Refusal>) {
        let frame = ServerFrame::Reply { id, result };
        for connection in self.connections.iter_mut().filter(|c| c.number == connection) {
            connection.queue(&frame);
        }
    }

    fn broadcast(&mut self, frame: &ServerFrame) {
        for connection in self.connections.iter_mut().filter(|c| c.subscribed) {
            connection.queue(frame);
        }
    }
}

impl Connection {
    fn queue(&mut self, frame: &ServerFrame) {
        match encode(frame) {
            Ok(bytes) => self.unsent.extend(bytes),
            Err(_) => self.broken = true,
        }
        self.send();
        self.broken |= self.unsent.len() > UNSENT_BYTES_MAX;
    }

    fn send(&mut self) {
        while !self.unsent.is_empty() && !self.broken {
            let (front, _) = self.unsent.as_slices();
            match self.stream.write(front) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.broken = true,
            }
        }
    }

    fn receive(&mut self) -> Vec<ClientFrame> {
        let mut buffer = [0u8; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.broken = true;
                    break;
                }
                Ok(read) => self.received.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.broken = true;
                    break;
                }
            }
        }
        let mut frames = Vec::new();
        loop {
            let decoded = match take_frame(&mut self.received) {
                Ok(None) => return frames,
                Ok(Some(frame)) => postcard::from_bytes(&frame).map_err(|e| e.to_string()),
                Err(why) => Err(why),
            };
            match decoded {
                Ok(frame) => frames.push(frame),
                Err(why) => {
                    tracing::error!(why, "the agent does not speak our protocol");
                    self.broken = true;
                    return frames;
                }
            }
        }
    }
}
