//! Priority levels and flow schemas at the start: absent ones are made, and those that the server may change are brought
//! to what this version says. The mandatory ones are whatever anybody wrote into them.

use beeline_api::kinds::flowcontrol::{AUTOUPDATE, is_mandatory, levels, schemas};
use beeline_api::kinds::{FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION};
use beeline_api::meta;
use serde_json::Value;

use super::standard::{self, Standard};
use crate::registry::{OpenError, Registry};

/// Sees to all of them.
pub(super) async fn ensure(registry: &Registry) -> Result<(), OpenError> {
    let levels = levels().into_iter().map(|one| (&PRIORITY_LEVEL_CONFIGURATION, one));
    let all = levels.chain(schemas().into_iter().map(|one| (&FLOW_SCHEMA, one)));
    let standard = |(kind, object)| Standard { kind, namespace: None, object, correct: corrected };
    standard::ensure_all(registry, all.map(standard)).await
}

/// The stored object with this version's spec; `None` if it has it, or is its owner's.
fn corrected(stored: &Value, wanted: &Value) -> Option<Value> {
    let ours =
        is_mandatory(meta::name(wanted)) || stored["metadata"]["annotations"][AUTOUPDATE] == "true";
    (ours && stored["spec"] != wanted["spec"]).then(|| {
        let mut new = stored.clone();
        new["spec"] = wanted["spec"].clone();
        new
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_ours_is_corrected() {
        let wanted = |name: &str| json!({ "metadata": { "name": name }, "spec": { "shares": 2 } });
        let stored = |may: Option<&str>| {
            let annotations = may.map(|may| json!({ AUTOUPDATE: may }));
            json!({ "metadata": { "annotations": annotations }, "spec": { "shares": 1 } })
        };
        let spec =
            |name, may| corrected(&stored(may), &wanted(name)).map(|new| new["spec"].clone());
        assert_eq!(spec("system", Some("true")), Some(json!({ "shares": 2 })));
        assert_eq!(spec("system", Some("false")), None);
        assert_eq!(spec("system", None), None);
        assert_eq!(spec("exempt", Some("false")), Some(json!({ "shares": 2 })));
        let same = json!({ "metadata": {}, "spec": { "shares": 2 } });
        assert_eq!(corrected(&same, &wanted("exempt")), None);
    }
}
