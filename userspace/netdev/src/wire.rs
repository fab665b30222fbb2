//! A netlink socket used synchronously: several requests in one system call, and one answer for each.
//!
//! rtnetlink's handle is asynchronous and bound to the namespace it was opened in; a pod's link needs a handful of
//! requests in a namespace entered for a moment, and the kernel answers while `send` still runs. Messages are built
//! with rtnetlink's builders.

use std::io;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::NetError;

/// Messages start at multiples of this many bytes.
const ALIGN: usize = 4;

/// One change, and what to say when it fails.
pub(crate) struct Change {
    pub(crate) attempt: String,
    pub(crate) message: RouteNetlinkMessage,
    pub(crate) flags: u16,
    /// Error numbers that mean the wanted state already holds.
    pub(crate) fine: &'static [i32],
}

impl Change {
    pub(crate) fn new(
        attempt: impl Into<String>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Self {
        Self { attempt: attempt.into(), message, flags, fine: &[] }
    }

    pub(crate) fn fine(mut self, errnos: &'static [i32]) -> Self {
        self.fine = errnos;
        self
    }
}

/// A socket in the network namespace of the thread that opened it.
pub(crate) struct Wire {
    socket: Socket,
}

impl Wire {
    pub(crate) fn open() -> Result<Self, NetError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(Self { socket })
        };
        open().map_err(|source| NetError::Socket { source })
    }

    /// Make one change.
    pub(crate) fn change(&self, change: Change) -> Result<(), NetError> {
        self.changes(vec![change])
    }

    /// Make all changes in order. The kernel goes on after a failed one; the first failure is returned.
    pub(crate) fn changes(&self, changes: Vec<Change>) -> Result<(), NetError> {
        self.each(changes).into_iter().collect()
    }

    /// Make all changes and tell how each went.
    pub(crate) fn each(&self, changes: Vec<Change>) -> Vec<Result<(), NetError>> {
        let mut buffer = Vec::with_capacity(512);
        let mut expected = Vec::with_capacity(changes.len());
        for (sequence, change) in (1_u32..).zip(changes) {
            append(&mut buffer, change.message, NLM_F_REQUEST | NLM_F_ACK | change.flags, sequence);
            expected.push((change.attempt, change.fine));
        }
        let answers = match self.socket.send(&buffer, 0) {
            Ok(_) => self.acknowledgements(expected.len()),
            Err(error) => Err(error),
        };
        let failure = answers.as_ref().err().map(copy);
        let mut answers = answers.unwrap_or_default();
        answers.resize_with(expected.len(), || None);
        expected
            .into_iter()
            .zip(answers)
            .map(|((attempt, fine), answer)| {
                let source = match (answer, &failure) {
                    (Some(0), _) => return Ok(()),
                    (Some(errno), _) if fine.contains(&errno) => return Ok(()),
                    (Some(errno), _) => io::Error::from_raw_os_error(errno),
                    (None, Some(failure)) => copy(failure),
                    (None, None) => io::Error::from(io::ErrorKind::UnexpectedEof),
                };
                Err(NetError::Refused { attempt, source })
            })
            .collect()
    }

    /// Everything of one kind.
    pub(crate) fn dump(
        &self,
        attempt: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetError> {
        self.ask(attempt, message, NLM_F_REQUEST | NLM_F_DUMP)
    }

    /// One thing, or nothing.
    pub(crate) fn get(
        &self,
        attempt: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>, NetError> {
        match self.ask(attempt, message, NLM_F_REQUEST | NLM_F_ACK) {
            Ok(found) => Ok(found.into_iter().next()),
            Err(error) if matches!(error.errno(), Some(libc::ENODEV | libc::ENOENT)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn ask(
        &self,
        attempt: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, NetError> {
        let refused = |source| NetError::Refused { attempt: attempt.to_owned(), source };
        let mut buffer = Vec::with_capacity(128);
        append(&mut buffer, message, flags, 1);
        self.socket.send(&buffer, 0).map_err(refused)?;
        let mut found = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full().map_err(refused)?;
            for message in split(&datagram) {
                let message = message.map_err(|problem| NetError::Garbled {
                    attempt: attempt.to_owned(),
                    problem,
                })?;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => found.push(inner),
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(found),
                    NetlinkPayload::Error(error) => {
                        return Err(refused(io::Error::from_raw_os_error(-error.raw_code())));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The error number of each request, by position.
    fn acknowledgements(&self, count: usize) -> io::Result<Vec<Option<i32>>> {
        let mut answers = vec![None; count];
        while answers.iter().any(Option::is_none) {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in split(&datagram) {
                let message = message.map_err(io::Error::other)?;
                let NetlinkPayload::Error(error) = message.payload else { continue };
                let position = usize::try_from(message.header.sequence_number).unwrap_or(0);
                if let Some(answer) = position.checked_sub(1).and_then(|at| answers.get_mut(at)) {
                    *answer = Some(-error.raw_code());
                }
            }
        }
        Ok(answers)
    }
}

fn append(buffer: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16, sequence: u32) {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let start = buffer.len();
    buffer.resize(start + message.buffer_len().next_multiple_of(ALIGN), 0);
    message.serialize(&mut buffer[start..]);
}

/// The messages in one datagram.
fn split(
    datagram: &[u8],
) -> impl Iterator<Item = Result<NetlinkMessage<RouteNetlinkMessage>, String>> + '_ {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk::<4>()?)).ok()?;
        let (message, _) = rest.split_at_checked(length)?;
        if message.is_empty() {
            return None;
        }
        rest = rest.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some(NetlinkMessage::deserialize(message).map_err(|error| error.to_string()))
    })
}

/// `io::Error` cannot be cloned.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
