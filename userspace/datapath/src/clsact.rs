//! Programs on links of kernels without tcx (before 6.6): a qdisc `clsact` and one direct-action filter for each program.
//!
//! In: a loaded program, a link's pin and a direction. Out: a filter that outlives us and is replaced without a gap.
//! Filters cannot be pinned, so a directory stands for one where tcx has its link, `links/PROGRAM-<ifindex>/DIRECTION`:
//! counting, adopting and removing go by the same names. Never touches a filter of anybody else: ours have a priority of
//! their own and the instance as handle. A program of the same instance on the same link and direction would replace it.

use std::{
    ffi::OsStr,
    fs, io,
    os::fd::{AsRawFd as _, BorrowedFd, RawFd},
    path::Path,
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    tc::{
        TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage,
        TcOption,
    },
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::bpf::AttachType;

const QDISC: &str = "clsact";
/// Filters of one link and direction run in the order of their priorities; others' usually begin at 1 or at 49152.
const PRIORITY: u16 = 190;
/// `ETH_P_ALL` of linux/if_ether.h, in network order.
const EVERY_PROTOCOL: u16 = 0x0003_u16.to_be();
/// Instances have 24 bits and one of them may be zero, handles must not be.
const HANDLE_MARK: u32 = 1 << 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

/// A filter of ours, as its pin describes it.
#[derive(Debug, PartialEq, Eq)]
struct Filter {
    name: String,
    handle: u32,
    ifindex: i32,
    direction: Direction,
}

/// Whether this kind of attachment is one that clsact can stand in for.
pub(crate) fn replaces(kind: AttachType) -> bool {
    Direction::of(kind).is_some()
}

/// Asks in a namespace of its own whether the kernel has the qdisc and the filters, and is left as it was.
pub(crate) fn supported() -> Result<(), String> {
    let ask = || Ok(Filter::none().supported());
    beeline_sys::netns::inside_new(ask).map_err(|error| error.to_string())?
}

/// Whether a pin stands for a filter.
pub(crate) fn is_pin(pin: &Path) -> bool {
    pin.is_dir()
}

/// Puts a program on the link that the pin names, in place of what is there of ours.
pub(crate) fn attach(program: BorrowedFd<'_>, kind: AttachType, pin: &Path) -> io::Result<()> {
    let direction = Direction::of(kind).ok_or(io::ErrorKind::Unsupported)?;
    let filter = Filter::new(pin, direction)?;
    fs::create_dir_all(pin.join(direction.name()))?;
    filter.add_qdisc()?;
    filter.write(program.as_raw_fd(), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Replaces the program of the filter; packets see the old one or the new one. `false` when the link or the filter is gone.
pub(crate) fn replace(program: BorrowedFd<'_>, pin: &Path) -> io::Result<bool> {
    let Some(filter) = Filter::read(pin)? else { return Ok(false) };
    unless_gone(filter.write(program.as_raw_fd(), 0))
}

/// Removes the filter, its qdisc if nobody else uses it, and the pin. What is gone already is fine.
pub(crate) fn detach(pin: &Path) -> io::Result<()> {
    if let Some(filter) = Filter::read(pin)?
        && unless_gone(filter.delete())?
    {
        filter.delete_idle_qdisc()?;
    }
    fs::remove_dir_all(pin)
}

/// The kernel's ways to say that there is no such filter, link or qdisc.
fn unless_gone(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::EINVAL) => Ok(false),
            _ => Err(error),
        },
    }
}

impl Direction {
    const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    fn of(kind: AttachType) -> Option<Self> {
        match kind {
            AttachType::TcxIngress => Some(Self::Ingress),
            AttachType::TcxEgress => Some(Self::Egress),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    fn parent(self) -> TcHandle {
        let minor = match self {
            Self::Ingress => TcHandle::MIN_INGRESS,
            Self::Egress => TcHandle::MIN_EGRESS,
        };
        TcHandle { major: TcHandle::CLSACT.major, minor }
    }
}

impl Filter {
    /// Of `<instance>/links/PROGRAM-<ifindex>`.
    fn new(pin: &Path, direction: Direction) -> io::Result<Self> {
        let refuse = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} names no filter", pin.display()),
            )
        };
        let instance = pin.ancestors().nth(2).and_then(Path::file_name).and_then(OsStr::to_str);
        let instance = instance.ok_or_else(refuse)?;
        let number = u32::from_str_radix(instance, 16).ok().filter(|n| *n < HANDLE_MARK);
        let name = pin.file_name().and_then(OsStr::to_str).and_then(|name| name.rsplit_once('-'));
        let (program, ifindex) = name.ok_or_else(refuse)?;
        Ok(Self {
            name: format!("{program}-{instance}"),
            handle: number.ok_or_else(refuse)? | HANDLE_MARK,
            ifindex: ifindex.parse().map_err(|_| refuse())?,
            direction,
        })
    }

    /// On the loopback device; never one that is in force.
    fn none() -> Self {
        let name = String::new();
        Self { name, handle: HANDLE_MARK, ifindex: 1, direction: Direction::Ingress }
    }

    /// A filter without a program is refused for its program where there are such filters.
    fn supported(&self) -> Result<(), String> {
        self.add_qdisc().map_err(|error| format!("no {QDISC} qdisc: {error}"))?;
        match self.write(-1, NLM_F_CREATE) {
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(()),
            Err(error) => Err(format!("no {} filters: {error}", TcFilterBpf::KIND)),
            Ok(()) => Err("the kernel takes a filter without a program".to_owned()),
        }
    }

    /// What a pin says. `None` if it was never finished.
    fn read(pin: &Path) -> io::Result<Option<Self>> {
        let there = |direction: &Direction| pin.join(direction.name()).is_dir();
        let direction = Direction::ALL.into_iter().find(there);
        direction.map(|direction| Self::new(pin, direction)).transpose()
    }

    fn message(&self, handle: u32, attributes: Vec<TcAttribute>) -> TcMessage {
        let header = TcHeader {
            index: self.ifindex,
            handle: handle.into(),
            parent: self.direction.parent(),
            info: TcHandle { major: PRIORITY, minor: EVERY_PROTOCOL }.into(),
            ..TcHeader::default()
        };
        TcMessage::from_parts(header, attributes)
    }

    fn write(&self, program: RawFd, flags: u16) -> io::Result<()> {
        let options = [
            TcFilterBpfOption::ProgFd(program.cast_unsigned()),
            TcFilterBpfOption::ProgName(self.name.clone()),
            TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
        ];
        let attributes = vec![
            TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
            TcAttribute::Options(options.into_iter().map(TcOption::Bpf).collect()),
        ];
        ask(Message::NewTrafficFilter(self.message(self.handle, attributes)), flags | NLM_F_ACK)
            .map(drop)
    }

    fn delete(&self) -> io::Result<()> {
        let kind = vec![TcAttribute::Kind(TcFilterBpf::KIND.to_owned())];
        ask(Message::DelTrafficFilter(self.message(self.handle, kind)), NLM_F_ACK).map(drop)
    }

    fn qdisc(&self) -> TcMessage {
        let header = TcHeader {
            index: self.ifindex,
            handle: TcHandle { major: TcHandle::CLSACT.major, minor: 0 },
            parent: TcHandle::CLSACT,
            ..TcHeader::default()
        };
        TcMessage::from_parts(header, vec![TcAttribute::Kind(QDISC.to_owned())])
    }

    fn add_qdisc(&self) -> io::Result<()> {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match ask(Message::NewQueueDiscipline(self.qdisc()), flags) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            done => done.map(drop),
        }
    }

    /// What cannot be read is somebody's.
    fn delete_idle_qdisc(&self) -> io::Result<()> {
        for direction in Direction::ALL {
            let mut query = self.message(0, Vec::new());
            query.header.parent = direction.parent();
            query.header.info = 0;
            let found = ask(Message::GetTrafficFilter(query), NLM_F_DUMP);
            if !found.is_ok_and(|filters| filters.is_empty()) {
                return Ok(());
            }
        }
        unless_gone(ask(Message::DelQueueDiscipline(self.qdisc()), NLM_F_ACK).map(drop)).map(drop)
    }
}

/// One request and its whole answer: the filters in it.
fn ask(message: Message, flags: u16) -> io::Result<Vec<TcMessage>> {
    let mut packet = NetlinkMessage::from(message);
    packet.header.flags = NLM_F_REQUEST | flags;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let mut filters = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let packet = NetlinkMessage::<Message>::deserialize(rest).map_err(io::Error::other)?;
            let length = usize::try_from(packet.header.length).map_err(io::Error::other)?;
            match packet.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(filters),
                NetlinkPayload::InnerMessage(Message::NewTrafficFilter(filter)) => {
                    filters.push(filter);
                }
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_says_whose_filter_sits_where() {
        let pin = Path::new("/sys/fs/bpf/beeline/00b2c3/links/from_pod-17");
        let filter = Filter::new(pin, Direction::Ingress).unwrap();
        assert_eq!((filter.name.as_str(), filter.ifindex), ("from_pod-00b2c3", 17));
        assert_eq!(filter.handle, 0x0100_b2c3);
        for other in
            ["/b/00b2c3/links/from_pod", "/b/x/links/to_pod-1", "/b/1000000/links/to_pod-1"]
        {
            assert!(Filter::new(Path::new(other), Direction::Egress).is_err(), "{other}");
        }
    }

    #[test]
    fn only_packet_hooks_have_a_direction() {
        assert!(replaces(AttachType::TcxIngress) && replaces(AttachType::TcxEgress));
        assert!(!replaces(AttachType::Connect4));
    }

    #[test]
    fn an_unfinished_pin_is_no_filter_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let pin = directory.path().join("a1b2c3/links/to_pod-1");
        fs::create_dir_all(&pin).unwrap();
        assert_eq!(Filter::read(&pin).unwrap(), None);
        detach(&pin).unwrap();
        assert!(!pin.exists());
    }
}
