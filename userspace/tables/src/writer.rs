//! The writer, the snapshots that it publishes, and the readers that wait for them.

use std::{net::IpAddr, sync::Arc};

use imbl::OrdMap;
use smallvec::{SmallVec, smallvec};
use tokio::sync::watch;

use crate::model::{
    EndpointIdentity, Epoch, NodeAddress, NodeName, ObjectKey, ObjectName, PodIntent, Referenced,
    Service, Slice,
};

/// One change of intent. Values replace what stood under their name; `Gone` removes it.
#[derive(Clone, Debug)]
pub enum Change {
    /// A Service appeared or changed.
    Service(Service),
    /// A Service was deleted.
    ServiceGone(ObjectName),
    /// A slice appeared or changed.
    Slice(Slice),
    /// A slice was deleted.
    SliceGone(ObjectName),
    /// A Pod of the cluster has an address, or changed its identity.
    Endpoint(EndpointIdentity),
    /// A Pod of the cluster no longer has an address.
    EndpointGone(ObjectName),
    /// A node appeared or changed.
    Node(NodeAddress),
    /// A node left.
    NodeGone(NodeName),
    /// A Pod of this node appeared or changed.
    Pod(PodIntent),
    /// A Pod of this node was deleted.
    PodGone(ObjectName),
    /// An object that Pods of this node refer to.
    Object(Referenced),
    /// Such an object was deleted, or is no longer referred to.
    ObjectGone(ObjectKey),
}

/// The slices of one Service: of most there is one.
pub type Slices = SmallVec<[Arc<Slice>; 1]>;

/// The whole of intent at one epoch. Cloning costs nothing; old ones stay valid.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The batch that completed it.
    pub epoch: Epoch,
    /// False until the first full state has arrived: readers must not remove anything before.
    pub complete: bool,
    /// Services by name.
    pub services: OrdMap<ObjectName, Arc<Service>>,
    /// Slices by their own name.
    pub slices: OrdMap<ObjectName, Arc<Slice>>,
    /// The same by the Service that they belong to, in the order of their own names.
    pub slices_of: OrdMap<ObjectName, Slices>,
    /// All Pods of the cluster that have an address.
    pub endpoints: OrdMap<ObjectName, Arc<EndpointIdentity>>,
    /// The same, by address.
    pub endpoints_at: OrdMap<IpAddr, Arc<EndpointIdentity>>,
    /// Nodes, this one included.
    pub nodes: OrdMap<NodeName, Arc<NodeAddress>>,
    /// Pods of this node.
    pub pods: OrdMap<ObjectName, Arc<PodIntent>>,
    /// ConfigMaps and Secrets that they refer to.
    pub objects: OrdMap<ObjectKey, Arc<Referenced>>,
}

impl Snapshot {
    /// The slices of one Service, in the order of their names.
    pub fn slices_for(&self, service: &ObjectName) -> &[Arc<Slice>] {
        self.slices_of.get(service).map(SmallVec::as_slice).unwrap_or_default()
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Service(service) => {
                self.services.insert(service.name.clone(), Arc::new(service));
            }
            Change::ServiceGone(name) => {
                self.services.remove(&name);
            }
            Change::Slice(slice) => self.put_slice(slice),
            Change::SliceGone(name) => self.remove_slice(&name),
            Change::Endpoint(endpoint) => self.put_endpoint(endpoint),
            Change::EndpointGone(name) => self.remove_endpoint(&name),
            Change::Node(node) => {
                self.nodes.insert(node.node.clone(), Arc::new(node));
            }
            Change::NodeGone(name) => {
                self.nodes.remove(&name);
            }
            Change::Pod(pod) => {
                self.pods.insert(pod.name.clone(), Arc::new(pod));
            }
            Change::PodGone(name) => {
                self.pods.remove(&name);
            }
            Change::Object(object) => {
                self.objects.insert(object.key.clone(), Arc::new(object));
            }
            Change::ObjectGone(key) => {
                self.objects.remove(&key);
            }
        }
    }

    fn put_slice(&mut self, slice: Slice) {
        let slice = Arc::new(slice);
        let old = self.slices.insert(slice.name.clone(), Arc::clone(&slice));
        if let Some(old) = old.filter(|old| old.service != slice.service) {
            self.remove_from_service(&old);
        }
        // Most Services have one slice: what stood there is looked at only if there was something, so that a search is saved.
        let alone = smallvec![Arc::clone(&slice)];
        let Some(mut known) = self.slices_of.insert(slice.service.clone(), alone) else { return };
        match known.binary_search_by(|it| it.name.cmp(&slice.name)) {
            Ok(index) => known[index] = Arc::clone(&slice),
            Err(index) => known.insert(index, Arc::clone(&slice)),
        }
        if known.len() > 1 {
            self.slices_of.insert(slice.service.clone(), known);
        }
    }

    fn remove_slice(&mut self, name: &ObjectName) {
        if let Some(old) = self.slices.remove(name) {
            self.remove_from_service(&old);
        }
    }

    fn remove_from_service(&mut self, slice: &Slice) {
        let Some(known) = self.slices_of.get_mut(&slice.service) else { return };
        known.retain(|it| it.name != slice.name);
        if known.is_empty() {
            self.slices_of.remove(&slice.service);
        }
    }

    fn put_endpoint(&mut self, endpoint: EndpointIdentity) {
        self.remove_endpoint(&endpoint.pod.clone());
        let endpoint = Arc::new(endpoint);
        for address in &endpoint.addresses {
            self.endpoints_at.insert(*address, Arc::clone(&endpoint));
        }
        self.endpoints.insert(endpoint.pod.clone(), endpoint);
    }

    fn remove_endpoint(&mut self, name: &ObjectName) {
        let Some(old) = self.endpoints.remove(name) else { return };
        for address in &old.addresses {
            // The address may have gone to another Pod meanwhile.
            if self.endpoints_at.get(address).is_some_and(|now| now.pod == *name) {
                self.endpoints_at.remove(address);
            }
        }
    }
}

/// Makes the two ends.
#[derive(Debug)]
pub struct Tables;

impl Tables {
    /// An empty, incomplete state, with its one writer and a first reader.
    #[expect(clippy::new_ret_no_self, reason = "a pair of ends, as channels are made")]
    pub fn new() -> (Writer, Reader) {
        let (sender, receiver) = watch::channel(Arc::new(Snapshot::default()));
        let writer = Writer { current: Snapshot::default(), pending: None, sender };
        (writer, Reader { receiver })
    }
}

/// The only one who changes the state.
#[derive(Debug)]
pub struct Writer {
    current: Snapshot,
    /// A full state under construction: it replaces the current one when it is whole.
    pending: Option<Snapshot>,
    sender: watch::Sender<Arc<Snapshot>>,
}

impl Writer {
    /// Apply the changes of one batch together and publish the result.
    pub fn apply(&mut self, epoch: Epoch, changes: Vec<Change>) {
        for change in changes {
            self.current.apply(change);
        }
        self.current.epoch = epoch;
        self.publish();
    }

    /// Take a part of a full state. With `last`, it replaces all that stood before.
    pub fn apply_snapshot(&mut self, epoch: Epoch, changes: Vec<Change>, last: bool) {
        let mut pending = self.pending.take().unwrap_or_default();
        for change in changes {
            pending.apply(change);
        }
        if !last {
            self.pending = Some(pending);
            return;
        }
        pending.epoch = epoch;
        pending.complete = true;
        self.current = pending;
        self.publish();
    }

    /// Forget a full state that never became whole: the line broke.
    pub fn abandon_snapshot(&mut self) {
        self.pending = None;
    }

    /// The state as last published.
    pub fn current(&self) -> &Snapshot {
        &self.current
    }

    fn publish(&self) {
        self.sender.send_replace(Arc::new(self.current.clone()));
    }
}

/// Sees every published state, or the newest of several.
#[derive(Clone, Debug)]
pub struct Reader {
    receiver: watch::Receiver<Arc<Snapshot>>,
}

impl Reader {
    /// The newest state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.receiver.borrow())
    }

    /// Wait for a state that this reader has not seen. `None` once the writer is gone.
    /// Cancel safe.
    pub async fn changed(&mut self) -> Option<Arc<Snapshot>> {
        self.receiver.changed().await.ok()?;
        Some(Arc::clone(&self.receiver.borrow_and_update()))
    }
}
