//! What may be written of a pod under a path of its own: ephemeral containers (KEP-277) and resources (KEP-1287).

use serde_json::Value;

use super::super::{Causes, podspec};
use crate::meta::{self, list, text};
use crate::validate::{forbidden, invalid};

/// Ephemeral containers are added, never changed or removed.
pub(super) fn ephemeral(new: &Value, old: &Value, causes: &mut Causes) {
    let (after, before) =
        (list(&new["spec"], "ephemeralContainers"), list(&old["spec"], "ephemeralContainers"));
    for (i, was) in before.iter().enumerate() {
        let at = "spec.ephemeralContainers";
        match after.iter().find(|c| c["name"] == was["name"]) {
            None => {
                let message = format!(
                    "existing ephemeral containers \"{}\" may not be removed",
                    text(was, "name")
                );
                causes.push(forbidden(at, &message));
            }
            Some(is) if is != was => {
                let message = format!(
                    "existing ephemeral containers \"{}\" may not be changed",
                    text(was, "name")
                );
                causes.push(forbidden(&format!("{at}[{i}]"), &message));
            }
            Some(_) => {}
        }
    }
    podspec::validate(&new["spec"], "spec", causes);
}

/// Takes over the resources and resize policies of containers that are there.
pub(super) fn resize(new: &mut Value, body: &Value) {
    let Some(spec) = new.get_mut("spec") else { return };
    for field in ["containers", "initContainers"] {
        for container in meta::items(spec, field) {
            let wanted = list(&body["spec"], field).iter().find(|c| c["name"] == container["name"]);
            for part in ["resources", "resizePolicy"] {
                match wanted.and_then(|w| w.get(part)) {
                    Some(value) => container[part] = value.clone(),
                    None if wanted.is_some() => {
                        if let Some(map) = container.as_object_mut() {
                            map.remove(part);
                        }
                    }
                    None => {}
                }
            }
        }
    }
}

/// A pod keeps its class of quality of service.
pub(super) fn resized(new: &Value, old: &Value, causes: &mut Causes) {
    podspec::validate(&new["spec"], "spec", causes);
    let (before, after) = (super::qos_class(&old["spec"]), super::qos_class(&new["spec"]));
    if before != after {
        causes.push(invalid("spec", after, "Pod QOS Class may not change as a result of resizing"));
    }
}
