//! What was heard of the three kinds, as batches for the tables.
//!
//! In: what each watch says, lists that begin and end included. Out: nothing until each kind was listed whole; then the
//! first state, and from there on what differs from the tables. A list that comes again (the server no longer remembers
//! where we were) removes what it does not name, and changes nothing that is the same. Never touches network or clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use beeline_tables::{Change, Epoch, NodeAddress, NodeName, ObjectName, Service, Slice, Writer};

/// One thing that a watch says of a kind. A row that is `None` is not, or no longer, for a proxy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard<K, V> {
    /// A whole list begins.
    Begin,
    /// What an object is now.
    Row(K, Option<V>),
    /// The list is whole.
    End,
}

/// What was written together, for those who measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its number.
    pub epoch: Epoch,
    /// How many Services changed.
    pub services: usize,
    /// How many slices changed.
    pub slices: usize,
    /// When the changes of the cluster began that changed slices answer; none for the first state.
    pub triggers: Vec<SystemTime>,
}

/// Owns the writer.
#[derive(Debug)]
pub(crate) struct Gather {
    writer: Writer,
    services: Kind<ObjectName, Service>,
    slices: Kind<ObjectName, Slice>,
    nodes: Kind<NodeName, NodeAddress>,
    triggers: BTreeMap<ObjectName, SystemTime>,
    epoch: Epoch,
}

/// What of one kind the tables do not hold yet.
#[derive(Debug)]
struct Kind<K, V> {
    fresh: BTreeMap<K, Option<V>>,
    /// Who was named since the list began; `None` between lists.
    named: Option<BTreeSet<K>>,
    listed: bool,
}

// === impl Gather ===

impl Gather {
    /// The first batch is the one after `epoch`.
    pub(crate) fn new(writer: Writer, epoch: Epoch) -> Self {
        Self {
            writer,
            services: Kind::new(),
            slices: Kind::new(),
            nodes: Kind::new(),
            triggers: BTreeMap::new(),
            epoch,
        }
    }

    /// Of a Service.
    pub(crate) fn service(&mut self, heard: Heard<ObjectName, Service>) {
        self.services.hear(heard, self.writer.current().services.keys());
    }

    /// Of a slice, and when the change began that it answers.
    pub(crate) fn slice(&mut self, heard: Heard<ObjectName, Slice>, trigger: Option<SystemTime>) {
        if let (Heard::Row(name, _), Some(trigger)) = (&heard, trigger) {
            // The oldest of several in one batch: that change has waited longest.
            self.triggers.entry(name.clone()).or_insert(trigger);
        }
        self.slices.hear(heard, self.writer.current().slices.keys());
    }

    /// Of a node.
    pub(crate) fn node(&mut self, heard: Heard<NodeName, NodeAddress>) {
        self.nodes.hear(heard, self.writer.current().nodes.keys());
    }

    /// Brings the tables up to date, if everything was listed and something differs. `announce` is called just before.
    pub(crate) fn flush(&mut self, announce: impl FnOnce(&Batch)) {
        if !(self.services.listed && self.slices.listed && self.nodes.listed) {
            return;
        }
        let first = !self.writer.current().complete;
        let current = self.writer.current();
        let nodes = self.nodes.differing(|name| current.nodes.get(name));
        let services = self.services.differing(|name| current.services.get(name));
        let slices = self.slices.differing(|name| current.slices.get(name));
        let triggers = std::mem::take(&mut self.triggers);
        if !first && nodes.is_empty() && services.is_empty() && slices.is_empty() {
            return;
        }
        self.epoch = Epoch(self.epoch.0 + 1);
        let of_changed = slices.iter().filter_map(|(name, _)| triggers.get(name).copied());
        announce(&Batch {
            epoch: self.epoch,
            services: services.len(),
            slices: slices.len(),
            triggers: of_changed.filter(|_| !first).collect(),
        });
        let mut changes: Vec<Change> = nodes
            .into_iter()
            .map(|(name, row)| row.map_or(Change::NodeGone(name), Change::Node))
            .collect();
        changes.extend(
            services
                .into_iter()
                .map(|(name, row)| row.map_or(Change::ServiceGone(name), Change::Service)),
        );
        changes.extend(
            slices
                .into_iter()
                .map(|(name, row)| row.map_or(Change::SliceGone(name), Change::Slice)),
        );
        if first {
            self.writer.apply_snapshot(self.epoch, changes, true);
        } else {
            self.writer.apply(self.epoch, changes);
        }
    }
}

// === impl Kind ===

impl<K: Ord + Clone, V: PartialEq> Kind<K, V> {
    fn new() -> Self {
        Self { fresh: BTreeMap::new(), named: None, listed: false }
    }

    fn hear<'a>(&mut self, heard: Heard<K, V>, held: impl Iterator<Item = &'a K>)
    where
        K: 'a,
    {
        match heard {
            Heard::Begin => self.named = Some(BTreeSet::new()),
            Heard::Row(key, row) => {
                if let Some(named) = &mut self.named {
                    named.insert(key.clone());
                }
                self.fresh.insert(key, row);
            }
            Heard::End => {
                let Some(named) = self.named.take() else { return };
                let mut known: BTreeSet<K> = self.fresh.keys().cloned().collect();
                known.extend(held.cloned());
                for gone in known.difference(&named) {
                    self.fresh.insert(gone.clone(), None);
                }
                self.listed = true;
            }
        }
    }

    /// Takes what differs from the tables.
    fn differing<'a>(&mut self, held: impl Fn(&K) -> Option<&'a Arc<V>>) -> Vec<(K, Option<V>)>
    where
        V: 'a,
    {
        let fresh = std::mem::take(&mut self.fresh).into_iter();
        fresh.filter(|(key, row)| held(key).map(|held| &**held) != row.as_ref()).collect()
    }
}

#[cfg(test)]
mod tests;
