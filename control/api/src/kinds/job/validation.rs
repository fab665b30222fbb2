//! What a Job may be, and what of it may change.

use serde_json::Value;

use super::super::workload;
use super::super::{Causes, rules};
use super::UID_LABELS;
use crate::meta::{list, text};
use crate::selectors::LabelSelector;
use crate::validate::{invalid, required};

/// Most rules that a pod failure policy has.
const RULES_MAX: usize = 20;

pub(super) fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let selector = &spec["selector"];
    match LabelSelector::from_object(selector) {
        None => causes.push(required("spec.selector", "")),
        Some(parsed) => {
            rules::selector(selector, "spec.selector", causes);
            if !parsed.matches(spec["template"]["metadata"]["labels"].as_object()) {
                let shown = spec["template"]["metadata"]["labels"].clone();
                let message = "`selector` does not match template `labels`";
                causes.push(invalid("spec.template.metadata.labels", shown, message));
            }
        }
    }
    let uid = &object["metadata"]["uid"];
    if spec["manualSelector"] != true
        && uid.is_string()
        && selector["matchLabels"].get(UID_LABELS[0]) != Some(uid)
        && selector["matchLabels"].get(UID_LABELS[1]) != Some(uid)
    {
        let message = "`selector` not auto-generated";
        causes.push(invalid("spec.selector", selector.clone(), message));
    }
    validate_spec(spec, "spec", causes);
}

/// A JobSpec at `path`, without its selector.
pub(in super::super) fn validate_spec(spec: &Value, path: &str, causes: &mut Causes) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        rules::not_negative(&spec[field], &format!("{path}.{field}"), causes);
    }
    let modes = &["NonIndexed", "Indexed"];
    rules::one_of(&spec["completionMode"], &format!("{path}.completionMode"), modes, causes);
    indexed(spec, path, causes);
    let replacement = &["Failed", "TerminatingOrFailed"];
    let field = format!("{path}.podReplacementPolicy");
    rules::one_of(&spec["podReplacementPolicy"], &field, replacement, causes);
    workload::template(&spec["template"], &format!("{path}.template"), causes);
    let restart = text(&spec["template"]["spec"], "restartPolicy");
    let field = format!("{path}.template.spec.restartPolicy");
    if !matches!(restart, "OnFailure" | "Never") {
        causes.push(required(&field, "valid values: \"OnFailure\", \"Never\""));
    } else if spec["podFailurePolicy"].is_object() && restart != "Never" {
        let message = "only \"Never\" is supported when podFailurePolicy is specified";
        causes.push(invalid(&field, restart, message));
    }
    failure_policy(&spec["podFailurePolicy"], &format!("{path}.podFailurePolicy"), causes);
}

fn indexed(spec: &Value, path: &str, causes: &mut Causes) {
    if spec["completionMode"] == "Indexed" {
        if !spec["completions"].is_number() {
            let message = "when completion mode is Indexed";
            causes.push(required(&format!("{path}.completions"), message));
        }
        return;
    }
    if spec["backoffLimitPerIndex"].is_number() {
        let field = format!("{path}.backoffLimitPerIndex");
        let shown = spec["backoffLimitPerIndex"].clone();
        causes.push(invalid(&field, shown, "requires indexed completion mode"));
    }
}

fn failure_policy(policy: &Value, path: &str, causes: &mut Causes) {
    if list(policy, "rules").len() > RULES_MAX {
        let actual = list(policy, "rules").len();
        causes.push(crate::validate::too_many(&format!("{path}.rules"), actual, RULES_MAX));
    }
    for (i, rule) in list(policy, "rules").iter().enumerate() {
        let at = format!("{path}.rules[{i}]");
        let actions = &["Count", "FailIndex", "FailJob", "Ignore"];
        rules::required_of(&rule["action"], &format!("{at}.action"), actions, causes);
        let (codes, conditions) = (&rule["onExitCodes"], list(rule, "onPodConditions"));
        if codes.is_object() != conditions.is_empty() {
            let message = if codes.is_object() {
                "specifying both OnExitCodes and OnPodConditions is not supported"
            } else {
                "specifying one of OnExitCodes and OnPodConditions is required"
            };
            causes.push(invalid(&at, rule.clone(), message));
        }
        if codes.is_object() {
            let field = format!("{at}.onExitCodes.operator");
            rules::required_of(&codes["operator"], &field, &["In", "NotIn"], causes);
        }
    }
}

pub(super) fn validate_update(new: &Value, old: &Value, causes: &mut Causes) {
    let (new, old) = (&new["spec"], &old["spec"]);
    // An indexed Job may be resized as a whole (KEP-3715).
    let resized = new["completionMode"] == "Indexed" && new["completions"] == new["parallelism"];
    if !resized {
        rules::immutable(&new["completions"], &old["completions"], "spec.completions", causes);
    }
    rules::immutable(&new["selector"], &old["selector"], "spec.selector", causes);
    template(new, old, causes);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"] {
        rules::immutable(&new[field], &old[field], &format!("spec.{field}"), causes);
    }
}

/// A suspended Job that never started may still be told where its pods go (KEP-2926).
fn template(new: &Value, old: &Value, causes: &mut Causes) {
    let (mut a, mut b) = (new["template"].clone(), old["template"].clone());
    if old["suspend"] == true {
        for template in [&mut a, &mut b] {
            let metadata = rules::without(&template["metadata"], &["labels", "annotations"]);
            let free = ["nodeSelector", "affinity", "tolerations", "schedulingGates"];
            let spec = rules::without(&template["spec"], &free);
            (template["metadata"], template["spec"]) = (metadata, spec);
        }
    }
    if a != b {
        causes.push(invalid("spec.template", new["template"].clone(), "field is immutable"));
    }
}
