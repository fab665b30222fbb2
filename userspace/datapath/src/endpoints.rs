//! Programs on the links of pods. Each link has its pins, named after its index.

use std::collections::BTreeSet;

use crate::{
    DatapathError,
    pins::{self, Pins},
    programs::{LINKS, Programs},
};

fn pin_name(program: &str, ifindex: u32) -> String {
    format!("{program}-{ifindex}")
}

/// The index in a pin's name.
fn ifindex_of(program: &str, name: &str) -> Option<u32> {
    name.strip_prefix(program)?.strip_prefix('-')?.parse().ok()
}

/// How many pods carry programs.
pub(crate) fn count(pins: &Pins) -> Result<usize, DatapathError> {
    Ok(pinned(pins)?.len())
}

fn pinned(pins: &Pins) -> Result<BTreeSet<u32>, DatapathError> {
    let names = pins.link_names()?;
    let indexes = LINKS
        .iter()
        .flat_map(|(program, _)| names.iter().filter_map(|name| ifindex_of(program, name)));
    Ok(indexes.collect())
}

/// Replaces the programs on every pod's link that is pinned, and returns the links that still exist.
/// Those that are gone lose their pins.
pub(crate) fn adopt(programs: &Programs, pins: &Pins) -> Result<BTreeSet<u32>, DatapathError> {
    let mut alive = BTreeSet::new();
    for ifindex in pinned(pins)? {
        let mut whole = true;
        for (program, _) in LINKS {
            whole &= programs.replace(program, &pins.link(&pin_name(program, ifindex)))?;
        }
        if whole {
            alive.insert(ifindex);
        } else {
            detach(pins, ifindex)?;
        }
    }
    Ok(alive)
}

/// Puts both programs on a pod's link. Doing it again is harmless.
pub(crate) fn attach(programs: &Programs, pins: &Pins, ifindex: u32) -> Result<(), DatapathError> {
    for (program, kind) in LINKS {
        programs.attach_link(program, kind, ifindex, &pins.link(&pin_name(program, ifindex)))?;
    }
    Ok(())
}

/// Takes both programs off. A link that has none is fine.
pub(crate) fn detach(pins: &Pins, ifindex: u32) -> Result<(), DatapathError> {
    for (program, _) in LINKS {
        pins::remove(&pins.link(&pin_name(program, ifindex)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_index() {
        assert_eq!(ifindex_of("to_pod", &pin_name("to_pod", 17)), Some(17));
        assert_eq!(ifindex_of("to_pod", "from_pod-17"), None);
        assert_eq!(ifindex_of("from_pod", "from_pod-x"), None);
    }
}
