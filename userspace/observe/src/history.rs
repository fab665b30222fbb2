//! The newest records: bounded, one for each direction of a connection, the one seen last at the end.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::flow::Flow;

/// Records kept: some 4 MB with names of usual length.
pub(crate) const FLOWS_MAX: usize = 8192;

/// What makes two events one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Packets of one direction of a connection.
    Packets { flow_id: u64, reply: bool },
    /// The socket that began it; packets, once seen, say more.
    Socket { flow_id: u64 },
    /// A packet that belongs to nothing.
    Alone { number: u64 },
}

#[derive(Default)]
pub(crate) struct History {
    number: u64,
    by_number: BTreeMap<u64, (Key, Arc<Flow>)>,
    by_key: HashMap<Key, u64>,
}

impl History {
    /// Add an event's record, or bring the one that stands up to date; what stands now.
    pub(crate) fn add(&mut self, mut flow: Flow) -> Arc<Flow> {
        self.number += 1;
        let socket = matches!(flow.hook.as_str(), "connect" | "sendmsg");
        let key = match (flow.flow_id, socket) {
            (0, _) => Key::Alone { number: self.number },
            (flow_id, true) => Key::Socket { flow_id },
            (flow_id, false) => Key::Packets { flow_id, reply: flow.reply },
        };
        if let Key::Packets { flow_id, .. } = key
            && let Some(began) = self.take(Key::Socket { flow_id })
        {
            // The packets' record tells all that the socket's did, and its ports and counts.
            flow.service = flow.service.or_else(|| began.service.clone());
        }
        if let Some(old) = self.take(key) {
            merge(&mut flow, &old);
        }
        let flow = Arc::new(flow);
        self.by_key.insert(key, self.number);
        self.by_number.insert(self.number, (key, Arc::clone(&flow)));
        while self.by_number.len() > FLOWS_MAX {
            if let Some((_, (key, _))) = self.by_number.pop_first() {
                self.by_key.remove(&key);
            }
        }
        flow
    }

    /// Newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &Arc<Flow>> {
        self.by_number.values().rev().map(|(_, flow)| flow)
    }

    fn take(&mut self, key: Key) -> Option<Arc<Flow>> {
        let number = self.by_key.remove(&key)?;
        self.by_number.remove(&number).map(|(_, flow)| flow)
    }
}

/// Both ends of a connection may be pods of this node: the same packets are then seen twice. Counts do not add up,
/// and names that were known once stay.
fn merge(flow: &mut Flow, old: &Flow) {
    flow.bytes = flow.bytes.max(old.bytes);
    flow.packets = flow.packets.max(old.packets);
    if flow.verdict.went_on() && old.verdict.went_on() {
        flow.verdict = flow.verdict.max(old.verdict);
    }
    for flag in &old.l4.tcp_flags {
        if !flow.l4.tcp_flags.contains(flag) {
            flow.l4.tcp_flags.push(flag.clone());
        }
    }
    if flow.service.as_ref().is_none_or(|service| service.name.is_empty()) && old.service.is_some()
    {
        flow.service = old.service.clone();
    }
    for (peer, known) in
        [(&mut flow.source, &old.source), (&mut flow.destination, &old.destination)]
    {
        if peer.pod_name.is_none() && known.pod_name.is_some() {
            *peer = known.clone();
        }
    }
}
