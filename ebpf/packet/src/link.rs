//! Which connection a packet belongs to, when several hooks have an opinion.
//!
//! A 5-tuple is used again sooner or later, and an old link must not give a new connection an old number.
//! So the packet that opens a connection, at the first hook of this node that sees it, trusts its own socket or nobody.
//! Every other packet trusts what is written, for its direction or for the opposite one.
//!
//! Without TCP no packet says that it opens. There the first hook believes a link only while the opposite direction is live:
//! had its own direction been live, nobody would ask. Who writes a link there takes away the opposite one, which is old.

use beeline_abi::{FlowId, FlowLink};

/// What the maps say about a packet: references, because a program's stack has no room for three.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The record of the very socket that sent the packet.
    pub own: Option<&'a FlowLink>,
    /// Written for this tuple.
    pub forward: Option<&'a FlowLink>,
    /// Written for the opposite tuple.
    pub backward: Option<&'a FlowLink>,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The connection.
    pub link: FlowLink,
    /// Whether the packet runs against the direction that began.
    pub reply: bool,
    /// Whether other hooks must be told.
    pub write: bool,
}

/// Decides. `opens_here`: the packet opens a connection, or may for all that is known, and no other hook of this node has seen it;
/// `fresh`: an unused number.
#[inline(always)]
pub fn choose(opens_here: bool, known: &Known<'_>, fresh: FlowId) -> Chosen {
    if let Some(link) = known.own {
        return Chosen { link: *link, reply: false, write: known.forward != Some(link) };
    }
    if !opens_here {
        if let Some(link) = known.forward {
            return Chosen { link: *link, reply: false, write: false };
        }
        if let Some(link) = known.backward {
            return Chosen { link: *link, reply: true, write: false };
        }
    }
    Chosen { link: FlowLink { flow_id: fresh, ..FlowLink::default() }, reply: false, write: true }
}
