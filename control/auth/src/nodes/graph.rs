//! Who refers to what: from Pods to what they name, and from there to volumes and their secrets.
//!
//! In: Pods, volumes and objects of one node, as they come and go. Out: whether an object leads to a node.
//! A question costs a look or two in hash maps, however large the cluster: objects are counted per node that has Pods which
//! name them.
//!
//! ```text
//! node <- pod <- secret, configmap, claim, account, resourceclaim
//! node <- pod <- claim <- volume <- secret
//! node <- attachment, slice
//! ```

use std::collections::{HashMap, HashSet};

/// Kinds of objects that nodes get by reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Referred {
    /// Secret
    Secret,
    /// ConfigMap
    ConfigMap,
    /// PersistentVolumeClaim
    Claim,
    /// PersistentVolume
    Volume,
    /// ServiceAccount
    Account,
    /// ResourceClaim
    ResourceClaim,
    /// Pod
    Pod,
    /// VolumeAttachment
    Attachment,
    /// ResourceSlice
    Slice,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Named {
    kind: Referred,
    namespace: String,
    name: String,
}

/// A PersistentVolume as nodes need to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volume {
    /// Namespace and name of the claim that it is bound to.
    pub claim: Option<(String, String)>,
    /// Namespaces and names of the Secrets that nodes need to mount it.
    pub secrets: Vec<(String, String)>,
}

/// All references.
#[derive(Debug, Default)]
pub struct Graph {
    /// What each Pod, attachment or slice puts within reach of its node.
    held: HashMap<Named, (String, Vec<Named>)>,
    /// How many put an object within reach, by node.
    reach: HashMap<Named, HashMap<String, usize>>,
    volumes: HashMap<String, Volume>,
    /// Volumes that need a secret.
    needed_by: HashMap<Named, HashSet<String>>,
}

impl Named {
    /// By its name; the namespace of what has none is left away.
    #[must_use]
    pub fn new(kind: Referred, namespace: &str, name: &str) -> Self {
        let namespace = match kind {
            Referred::Volume | Referred::Attachment | Referred::Slice => "",
            _ => namespace,
        };
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl Graph {
    /// What is on a node, and what it refers to; None: it is nowhere (any more).
    pub fn set(&mut self, holder: Named, on: Option<(&str, Vec<Named>)>) {
        if let Some((node, objects)) = self.held.remove(&holder) {
            for object in objects.iter().chain([&holder]) {
                self.drop_from_reach(object, &node);
            }
        }
        let Some((node, mut objects)) = on else { return };
        objects.sort();
        objects.dedup();
        for object in objects.iter().chain([&holder]) {
            let nodes = self.reach.entry(object.clone()).or_default();
            *nodes.entry(node.to_owned()).or_default() += 1;
        }
        self.held.insert(holder, (node.to_owned(), objects));
    }

    fn drop_from_reach(&mut self, object: &Named, node: &str) {
        let Some(nodes) = self.reach.get_mut(object) else { return };
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            self.reach.remove(object);
        }
    }

    /// A volume as it is now; None: there is none of that name (any more).
    pub fn set_volume(&mut self, name: &str, volume: Option<Volume>) {
        let secret =
            |(namespace, name): &(String, String)| Named::new(Referred::Secret, namespace, name);
        for old in self.volumes.remove(name).iter().flat_map(|volume| &volume.secrets) {
            let key = secret(old);
            if let Some(volumes) = self.needed_by.get_mut(&key) {
                volumes.remove(name);
                if volumes.is_empty() {
                    self.needed_by.remove(&key);
                }
            }
        }
        let Some(volume) = volume else { return };
        for new in &volume.secrets {
            self.needed_by.entry(secret(new)).or_default().insert(name.to_owned());
        }
        self.volumes.insert(name.to_owned(), volume);
    }

    /// Whether a node may have an object.
    #[must_use]
    pub fn leads(&self, object: &Named, node: &str) -> bool {
        if self.reach.get(object).is_some_and(|nodes| nodes.contains_key(node)) {
            return true;
        }
        match object.kind {
            Referred::Volume => self.volume_leads(&object.name, node),
            Referred::Secret => self
                .needed_by
                .get(object)
                .is_some_and(|volumes| volumes.iter().any(|name| self.volume_leads(name, node))),
            _ => false,
        }
    }

    fn volume_leads(&self, name: &str, node: &str) -> bool {
        let claim = self.volumes.get(name).and_then(|volume| volume.claim.as_ref());
        claim.is_some_and(|(namespace, name)| {
            let claim = Named::new(Referred::Claim, namespace, name);
            self.reach.get(&claim).is_some_and(|nodes| nodes.contains_key(node))
        })
    }

    /// Whether nothing is left of all that was set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
            && self.reach.is_empty()
            && self.volumes.is_empty()
            && self.needed_by.is_empty()
    }
}
