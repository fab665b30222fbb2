//! What Deployments and ReplicaSets share: templates, selectors, cells.

use serde_json::Value;

use super::{Causes, ScalePaths, podspec};
use crate::meta::{list, text};
use crate::selectors::LabelSelector;
use crate::validate::{self, invalid, not_supported, required};

/// `/scale` of workloads.
pub(super) const SCALE_PATHS: ScalePaths = ScalePaths {
    spec_replicas: "/spec/replicas",
    status_replicas: "/status/replicas",
    selector: "/spec/selector",
};

/// Fills in the template.
pub(super) fn default_template(object: &mut Value) {
    if let Some(spec) = object.pointer_mut("/spec/template/spec") {
        podspec::default(spec);
    }
}

/// Selector, template and how they fit.
pub(super) fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    super::rules::not_negative(&spec["replicas"], "spec.replicas", causes);
    super::rules::not_negative(&spec["minReadySeconds"], "spec.minReadySeconds", causes);
    let selector = &spec["selector"];
    let template = &spec["template"];
    let labels = template["metadata"]["labels"].as_object();
    match LabelSelector::from_object(selector) {
        None => causes.push(required("spec.selector", "")),
        Some(parsed) if parsed.is_empty() => {
            causes.push(invalid(
                "spec.selector",
                selector.clone(),
                "empty selector is invalid for deployment",
            ));
        }
        Some(parsed) if !parsed.matches(labels) => {
            let shown = template["metadata"]["labels"].clone();
            let shown = if shown.is_null() { serde_json::json!({}) } else { shown };
            causes.push(invalid(
                "spec.template.metadata.labels",
                shown,
                "`selector` does not match template `labels`",
            ));
        }
        Some(_) => {}
    }
    validate::labels(&selector["matchLabels"], "spec.selector.matchLabels", causes);
    validate::labels(&template["metadata"]["labels"], "spec.template.labels", causes);
    podspec::validate(&template["spec"], "spec.template.spec", causes);
    let restart = text(&template["spec"], "restartPolicy");
    if restart != "Always" && ["OnFailure", "Never"].contains(&restart) {
        causes.push(not_supported("spec.template.spec.restartPolicy", restart, &["Always"]));
    }
    if template["spec"]["activeDeadlineSeconds"].is_number() {
        causes.push(validate::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        ));
    }
}

/// The wide cells: containers, images, selector.
pub(super) fn wide_cells(object: &Value) -> [Value; 3] {
    let containers = list(&object["spec"]["template"]["spec"], "containers");
    let join =
        |field: &str| containers.iter().map(|c| text(c, field)).collect::<Vec<_>>().join(",");
    let selector = LabelSelector::from_object(&object["spec"]["selector"])
        .map(|s| s.to_text())
        .unwrap_or_default();
    [join("name").into(), join("image").into(), super::rules::or_none(selector).into()]
}

/// A number, 0 when absent.
pub(super) fn number(object: &Value, part: &str, field: &str) -> i64 {
    object[part][field].as_i64().unwrap_or(0)
}
