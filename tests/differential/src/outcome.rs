//! What became of a case: what is expected, what was seen, and whether they agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::{case::Case, place::Caller};

/// What is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// One of these answers, and each of them now and then.
    Served {
        /// Who may answer, and whom each sees.
        servers: BTreeMap<SocketAddr, Seen>,
        /// The same one always answers.
        sticky: bool,
    },
    /// Told at once that nobody is there.
    Refused,
    /// Told at once that this is not allowed.
    Forbidden,
    /// Told nothing.
    Dropped,
}

/// Whom a server sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// The caller's own address.
    Caller,
    /// An address of the node.
    Node,
    /// Somebody else.
    Stranger(IpAddr),
}

impl Seen {
    /// Who that is to a case. The node itself is always the node.
    pub fn of(case: &Case, address: IpAddr) -> Self {
        let family = case.family;
        let pod_side = family.ip("10.42.0.1", "fd42::1");
        let node = [family.node(), family.back(), family.loopback(), pod_side];
        if case.caller != Caller::Node && address == case.caller.address(family) {
            Self::Caller
        } else if node.contains(&address) {
            Self::Node
        } else {
            Self::Stranger(address)
        }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// A server, and the address it saw.
    Server(SocketAddr, IpAddr),
    /// `ECONNREFUSED`.
    Refused,
    /// `EPERM`.
    Forbidden,
    /// Nothing within the caller's patience.
    Silence,
    /// Anything else.
    Other(String),
}

impl Answer {
    /// Reads what a caller process writes.
    pub fn read(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["refused"] => Self::Refused,
            ["forbidden"] => Self::Forbidden,
            ["silence"] => Self::Silence,
            ["server", server, seen] => match (server.parse(), seen.parse()) {
                (Ok(server), Ok(seen)) => Self::Server(server, seen),
                _ => Self::Other(text.to_owned()),
            },
            _ => Self::Other(text.to_owned()),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served { servers, sticky } => {
                let stays = if *sticky { ", always the same" } else { "" };
                write!(f, "served by {servers:?}{stays}")
            }
            Self::Refused => f.write_str("refused"),
            Self::Forbidden => f.write_str("forbidden"),
            Self::Dropped => f.write_str("dropped"),
        }
    }
}

impl Expected {
    /// How many servers have to be seen.
    pub fn servers(&self) -> usize {
        match self {
            Self::Served { sticky: true, .. } => 1,
            Self::Served { servers, .. } => servers.len(),
            Self::Refused | Self::Forbidden | Self::Dropped => 0,
        }
    }

    /// What is wrong with these answers, if anything is.
    pub fn complaint(&self, case: &Case, answers: &[Answer]) -> Option<String> {
        let all: BTreeSet<&Answer> = answers.iter().collect();
        let fits = match self {
            Self::Refused => only(&all, &Answer::Refused),
            Self::Forbidden => only(&all, &Answer::Forbidden),
            Self::Dropped => only(&all, &Answer::Silence),
            Self::Served { servers, sticky } => served(case, &all, servers, *sticky),
        };
        (!fits).then(|| format!("expected: {self}; came: {all:?}"))
    }
}

fn only(all: &BTreeSet<&Answer>, wanted: &Answer) -> bool {
    all.len() == 1 && all.contains(wanted)
}

fn served(
    case: &Case,
    all: &BTreeSet<&Answer>,
    servers: &BTreeMap<SocketAddr, Seen>,
    sticky: bool,
) -> bool {
    let mut answered = BTreeSet::new();
    for answer in all {
        let Answer::Server(server, seen) = answer else { return false };
        if servers.get(server) != Some(&Seen::of(case, *seen)) {
            return false;
        }
        answered.insert(server);
    }
    if sticky { answered.len() == 1 } else { answered.len() == servers.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        case::Target,
        cluster::Protocol,
        place::{Family, Place},
    };

    fn case() -> Case {
        Case {
            caller: Caller::Near,
            family: Family::V4,
            protocol: Protocol::Tcp,
            target: Target::Server(Place::PodA),
            address: "10.42.0.2:8080".parse().unwrap(),
        }
    }

    fn server(place: Place, seen: &str) -> Answer {
        Answer::Server(SocketAddr::new(place.address(Family::V4), 80), seen.parse().unwrap())
    }

    #[test]
    fn answers_have_to_be_the_expected_ones() {
        let at = |place: Place| SocketAddr::new(place.address(Family::V4), 80);
        let servers =
            BTreeMap::from([(at(Place::PodA), Seen::Caller), (at(Place::RemoteA), Seen::Node)]);
        let (own, node) = ("192.0.2.2", "172.16.0.1");
        let fits = |sticky, answers: &[Answer]| {
            let expected = Expected::Served { servers: servers.clone(), sticky };
            expected.complaint(&case(), answers).is_none()
        };
        let both = [server(Place::PodA, own), server(Place::RemoteA, node)];
        assert!(fits(false, &both));
        assert!(!fits(false, &both[..1]), "the other one never answered");
        assert!(fits(true, &both[..1]));
        assert!(!fits(true, &both), "a client has to stay");
        assert!(!fits(true, &[server(Place::PodB, own)]), "nobody of ours");
        assert!(!fits(true, &[server(Place::PodA, node)]), "seen as somebody else");
        assert!(!fits(true, &[server(Place::RemoteA, "192.0.2.130")]), "a stranger");
        assert!(!fits(false, &[both[0].clone(), both[1].clone(), Answer::Silence]));
        assert!(!fits(false, &[]));
    }

    #[test]
    fn refusals_are_told_apart() {
        let all = [Answer::Refused, Answer::Forbidden, Answer::Silence];
        let expected = [Expected::Refused, Expected::Forbidden, Expected::Dropped];
        for (row, expected) in expected.iter().enumerate() {
            for (column, answer) in all.iter().enumerate() {
                let complaint = expected.complaint(&case(), std::slice::from_ref(answer));
                assert_eq!(complaint.is_none(), row == column, "{expected}, {answer:?}");
            }
        }
    }

    #[test]
    fn what_callers_write_is_read() {
        let server = Answer::Server("[fd42::2]:80".parse().unwrap(), "fd42::1".parse().unwrap());
        assert_eq!(Answer::read("server [fd42::2]:80 fd42::1"), server);
        assert_eq!(Answer::read("silence"), Answer::Silence);
        assert_eq!(Answer::read("peer 10.0.0.1:1"), Answer::Other("peer 10.0.0.1:1".to_owned()));
    }
}
