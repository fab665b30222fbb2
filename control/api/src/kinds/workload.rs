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

/// Selector, template and how they fit, for workloads whose pods run until they are removed.
pub(super) fn validate(object: &Value, causes: &mut Causes) {
    super::rules::not_negative(&object["spec"]["replicas"], "spec.replicas", causes);
    validate_lasting(object, "ReplicaSet", causes);
}

/// The same for those that do not count replicas.
pub(super) fn validate_lasting(object: &Value, kind: &str, causes: &mut Causes) {
    let spec = &object["spec"];
    super::rules::not_negative(&spec["minReadySeconds"], "spec.minReadySeconds", causes);
    super::rules::not_negative(&spec["revisionHistoryLimit"], "spec.revisionHistoryLimit", causes);
    let what = if kind == "ReplicaSet" { "deployment" } else { kind };
    selector(spec, what, causes);
    template(&spec["template"], "spec.template", causes);
    always_restarts(&spec["template"], kind, causes);
}

/// A LabelSelector that selects what the template makes.
fn selector(spec: &Value, kind: &str, causes: &mut Causes) {
    let (selector, template) = (&spec["selector"], &spec["template"]);
    match LabelSelector::from_object(selector) {
        None => causes.push(required("spec.selector", "")),
        Some(parsed) if parsed.is_empty() => {
            let message = match kind {
                "deployment" => "empty selector is invalid for deployment".to_owned(),
                kind => format!("empty selector is invalid for {}", kind.to_lowercase()),
            };
            causes.push(invalid("spec.selector", selector.clone(), &message));
        }
        Some(parsed) if !parsed.matches(template["metadata"]["labels"].as_object()) => {
            let shown = template["metadata"]["labels"].clone();
            let shown = if shown.is_null() { serde_json::json!({}) } else { shown };
            let message = "`selector` does not match template `labels`";
            causes.push(invalid("spec.template.metadata.labels", shown, message));
        }
        Some(_) => {}
    }
    super::rules::selector(selector, "spec.selector", causes);
}

/// A pod template at `path`.
pub(super) fn template(template: &Value, path: &str, causes: &mut Causes) {
    validate::labels(&template["metadata"]["labels"], &format!("{path}.labels"), causes);
    podspec::validate(&template["spec"], &format!("{path}.spec"), causes);
}

/// Pods that end would be made again for ever.
pub(super) fn always_restarts(template: &Value, kind: &str, causes: &mut Causes) {
    let restart = text(&template["spec"], "restartPolicy");
    if restart != "Always" && ["OnFailure", "Never"].contains(&restart) {
        causes.push(not_supported("spec.template.spec.restartPolicy", restart, &["Always"]));
    }
    if template["spec"]["activeDeadlineSeconds"].is_number() {
        causes.push(validate::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            &format!("activeDeadlineSeconds in {kind} is not Supported"),
        ));
    }
}

/// Names and images of a template's containers.
pub(super) fn container_cells(template: &Value) -> [Value; 2] {
    let containers = list(&template["spec"], "containers");
    let join =
        |field: &str| containers.iter().map(|c| text(c, field)).collect::<Vec<_>>().join(",");
    [join("name").into(), join("image").into()]
}

/// The wide cells: containers, images, selector.
pub(super) fn wide_cells(object: &Value) -> [Value; 3] {
    let [names, images] = container_cells(&object["spec"]["template"]);
    let selector = LabelSelector::from_object(&object["spec"]["selector"])
        .map(|s| s.to_text())
        .unwrap_or_default();
    [names, images, super::rules::or_none(selector).into()]
}

/// A number, 0 when absent.
pub(super) fn number(object: &Value, part: &str, field: &str) -> i64 {
    object[part][field].as_i64().unwrap_or(0)
}
