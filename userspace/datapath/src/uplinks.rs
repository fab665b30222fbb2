//! Programs on the links by which the world is reached. Each link has its pins, named after its index.

use std::collections::BTreeSet;

use crate::{
    Config, DatapathError, Edge,
    pins::{self, Pins},
    programs::{EDGE, Programs, UPLINKS},
};

fn pin_name(program: &str, ifindex: u32) -> String {
    format!("{program}-{ifindex}")
}

/// Puts our programs on the links that the owner named, in place of what an earlier process left there, and takes them off
/// all others.
pub(crate) fn attach(
    programs: &Programs,
    pins: &Pins,
    config: &Config,
) -> Result<(), DatapathError> {
    let mut kept = BTreeSet::new();
    for name in &config.uplinks {
        let ifindex = beeline_sys::link::index_of(name)?;
        for (program, kind) in UPLINKS {
            let pin = pin_name(program, ifindex);
            programs.attach_link(program, kind, ifindex, &pins.link(&pin))?;
            kept.insert(pin);
        }
        if config.edge == Edge::Native {
            let pin = pin_name(EDGE, ifindex);
            programs.attach_driver(EDGE, ifindex, &pins.link(&pin))?;
            kept.insert(pin);
        }
    }
    for pin in pins.link_names()?.into_iter().filter(|name| is_ours(name) && !kept.contains(name)) {
        pins::remove(&pins.link(&pin))?;
    }
    Ok(())
}

/// How many links carry programs.
pub(crate) fn count(pins: &Pins) -> Result<usize, DatapathError> {
    let names = pins.link_names()?;
    Ok(names.iter().filter_map(|name| ifindex_of(name)).collect::<BTreeSet<_>>().len())
}

/// Whether a pin is that of a program on an uplink.
fn is_ours(pin: &str) -> bool {
    ifindex_of(pin).is_some()
}

/// The index of the uplink in a pin's name.
fn ifindex_of(pin: &str) -> Option<u32> {
    let mut programs = UPLINKS.iter().map(|(program, _)| *program).chain([EDGE]);
    programs.find_map(|program| pin.strip_prefix(program)?.strip_prefix('-')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_of_others_are_not_ours() {
        assert!(is_ours(&pin_name("from_outside", 7)) && is_ours(&pin_name(EDGE, 7)));
        assert!(!is_ours("from_pod-7") && !is_ours("connect4-7") && !is_ours("edge-x"));
    }
}
