//! Ends tracked connections that are over, by the same rules that the kernel programs go by.
//!
//! In: the table of tracked connections. Out: the same without what is over, and how many stay. A direction that was silent for too
//! long is looked at together with the opposite one: both go, or none.

use std::{io, os::fd::BorrowedFd};

use beeline_abi::{Track, Tuple, maps};
use beeline_packet::track;

use crate::{DatapathError, bpf, clock};

/// How many entries one look at the table found and removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Collected {
    /// Entries that stay.
    pub(crate) standing: usize,
    /// Entries that went.
    pub(crate) ended: usize,
}

/// Looks at every entry once.
pub(crate) fn collect(table: BorrowedFd<'_>) -> Result<Collected, DatapathError> {
    let now_ns = clock::monotonic_ns();
    let mut over = Vec::new();
    let mut seen = 0;
    bpf::scan::<Tuple, Track>(table, |tuple, entry| {
        seen += 1;
        if track::is_over(entry, now_ns) {
            over.push((*tuple, *entry));
        }
    })
    .map_err(|source| failed("read", source))?;
    let mut gone = Vec::new();
    for (tuple, entry) in over {
        let opposite = track::opposite_key(&entry, tuple.proto);
        let other: Option<Track> =
            bpf::lookup(table, &opposite).map_err(|source| failed("look up in", source))?;
        match other {
            Some(other) if !track::are_over(&entry, &other, now_ns) => {}
            Some(_) => gone.extend([tuple, opposite]),
            None => gone.push(tuple),
        }
    }
    gone.sort_unstable();
    gone.dedup();
    bpf::delete(table, &gone).map_err(|source| failed("delete from", source))?;
    Ok(Collected { standing: seen - gone.len().min(seen), ended: gone.len() })
}

/// Removes every entry that a look at the table finds; how many there were that began meanwhile.
pub(crate) fn forget(table: BorrowedFd<'_>) -> Result<usize, DatapathError> {
    let mut all = Vec::new();
    bpf::scan::<Tuple, Track>(table, |tuple, _| all.push(*tuple))
        .map_err(|source| failed("read", source))?;
    bpf::delete(table, &all).map_err(|source| failed("delete from", source))?;
    let mut standing = 0;
    bpf::scan::<Tuple, Track>(table, |_, _| standing += 1)
        .map_err(|source| failed("read", source))?;
    Ok(standing)
}

fn failed(attempt: &'static str, source: io::Error) -> DatapathError {
    DatapathError::Map { attempt, map: maps::CONNTRACK, source }
}
