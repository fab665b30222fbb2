//! Priority levels and flow schemas at the start: absent ones are made, and those that the server may change are brought
//! to what this version says. The mandatory ones are whatever anybody wrote into them.

use beeline_api::kinds::flowcontrol::{AUTOUPDATE, is_mandatory, levels, schemas};
use beeline_api::kinds::{FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION};
use beeline_api::meta::text;
use beeline_api::{ApiError, KindInfo};
use futures::future::try_join_all;
use serde_json::Value;

use crate::options::{Caller, Target, WriteOptions};
use crate::registry::{OpenError, Registry};
use crate::write;

/// Sees to all of them. Together, so that the store makes them durable in a few commits.
pub(super) async fn ensure(registry: &Registry) -> Result<(), OpenError> {
    let levels = levels().into_iter().map(|one| (&PRIORITY_LEVEL_CONFIGURATION, one));
    let all = levels.chain(schemas().into_iter().map(|one| (&FLOW_SCHEMA, one)));
    let writes = all.map(|(kind, wanted)| async move {
        let name = text(&wanted["metadata"], "name").to_owned();
        put(registry, kind, &name, wanted)
            .await
            .map_err(|why| OpenError::Bootstrap { what: format!("{} {name}", kind.kind), why })
    });
    try_join_all(writes).await.map(drop)
}

async fn put(
    registry: &Registry,
    kind: &'static KindInfo,
    name: &str,
    wanted: Value,
) -> Result<(), ApiError> {
    let (caller, options) = (Caller::system("registry"), WriteOptions::default());
    let Some(found) = registry.cached(kind, None, name) else {
        let target = Target::collection(kind, None);
        return match write::create(registry, &caller, &target, wanted, &options).await {
            Err(e) if !e.is_already_exists() => Err(e),
            _ => Ok(()),
        };
    };
    let Some(new) = corrected(name, &found.value, &wanted) else { return Ok(()) };
    let target = Target::object(kind, None, name);
    write::update(registry, &caller, &target, new, &options).await.map(drop)
}

/// The stored object with this version's spec; `None` if it has it, or is its owner's.
fn corrected(name: &str, stored: &Value, wanted: &Value) -> Option<Value> {
    let ours = is_mandatory(name) || stored["metadata"]["annotations"][AUTOUPDATE] == "true";
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
        let wanted = json!({ "spec": { "shares": 2 } });
        let stored = |may: Option<&str>| {
            let annotations = may.map(|may| json!({ AUTOUPDATE: may }));
            json!({ "metadata": { "annotations": annotations }, "spec": { "shares": 1 } })
        };
        let spec =
            |name, may| corrected(name, &stored(may), &wanted).map(|new| new["spec"].clone());
        assert_eq!(spec("system", Some("true")), Some(json!({ "shares": 2 })));
        assert_eq!(spec("system", Some("false")), None);
        assert_eq!(spec("system", None), None);
        assert_eq!(spec("exempt", Some("false")), Some(json!({ "shares": 2 })));
        let same = json!({ "metadata": {}, "spec": { "shares": 2 } });
        assert_eq!(corrected("exempt", &same, &wanted), None);
    }
}
