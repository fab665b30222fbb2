//! Namespaces that are going: their content first, Pods before the rest, then the Namespace itself.
//!
//! In: Namespaces and what is in those that are being deleted. Out: deletions and, when nothing is left, the
//! removal of the `kubernetes` finalizer. Pure.

use std::sync::Arc;

use beeline_api::{KindInfo, kinds};
use k8s_openapi::api::core::v1::Namespace;
use serde_json::json;

use crate::objects;
use crate::write::{ObjectId, Part, Removal, Write};

/// Something that is still in a Namespace.
#[derive(Clone, Debug)]
pub struct Content {
    /// Its kind.
    pub kind: &'static KindInfo,
    /// Which one.
    pub object: ObjectId,
    /// It has been asked to go already.
    pub deleting: bool,
}

/// All that this is decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every Namespace.
    pub namespaces: Vec<Arc<Namespace>>,
    /// What is in those that are being deleted.
    pub content: Vec<Content>,
}

/// What has to be written now.
pub fn plan(state: &State) -> Vec<Write> {
    let ending = state.namespaces.iter().filter(|n| objects::is_deleting(&n.metadata));
    ending.flat_map(|namespace| plan_one(namespace, &state.content)).collect()
}

fn plan_one(namespace: &Namespace, content: &[Content]) -> Vec<Write> {
    let name = objects::name(&namespace.metadata);
    let content: Vec<&Content> = content.iter().filter(|c| c.object.namespace == name).collect();
    let object = ObjectId::of(&namespace.metadata);
    let mut writes = Vec::new();
    if namespace.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Terminating") {
        writes.push(Write::Patch {
            kind: &kinds::NAMESPACE,
            object: object.clone(),
            part: Part::Status,
            patch: Box::new(json!({ "status": { "phase": "Terminating" } })),
        });
    }
    let delete = |c: &&Content| Write::delete(c.kind, c.object.clone(), Removal::Graceful);
    let pods = |c: &&&Content| c.kind == &kinds::POD;
    // Pods go alone first: they may need their ConfigMaps and Secrets to end well.
    let running = content.iter().filter(pods).count();
    writes.extend(
        content.iter().filter(|c| (running == 0) || pods(c)).filter(|c| !c.deleting).map(delete),
    );
    let finalizers =
        namespace.spec.as_ref().and_then(|s| s.finalizers.as_deref()).unwrap_or_default();
    if content.is_empty() && finalizers.iter().any(|f| f == "kubernetes") {
        let rest: Vec<&String> = finalizers.iter().filter(|f| *f != "kubernetes").collect();
        writes.push(Write::Patch {
            kind: &kinds::NAMESPACE,
            object,
            part: Part::Finalize,
            patch: Box::new(json!({ "spec": { "finalizers": rest } })),
        });
    }
    writes
}
