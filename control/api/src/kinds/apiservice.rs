//! apiregistration.k8s.io/v1 APIService: the objects, and upstream's priorities of groups that are served here.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col, status};
use super::{Causes, KindInfo};
use crate::meta::{self, list, or_set, text};
use crate::time::Timestamp;
use crate::validate::{self, invalid, required};

/// APIService.
pub static API_SERVICE: KindInfo = KindInfo {
    group: "apiregistration.k8s.io",
    kind: "APIService",
    plural: "apiservices",
    singular: "apiservice",
    categories: &["api-extensions"],
    namespaced: false,
    // The core group's is `v1.`.
    name_rule: validate::path_segment,
    status_subresource: true,
    subresources: &[status("APIService")],
    columns: &[NAME, col("Service"), col("Available"), AGE],
    cells,
    default: |object| {
        if let Some(service) = object.pointer_mut("/spec/service").and_then(Value::as_object_mut) {
            or_set(service, "port", 443);
        }
    },
    validate,
    ..BASE
};

/// Upstream's order of its groups, and of the newest version in each.
const PRIORITIES: [(&str, i64, i64); 22] = [
    ("", 18_000, 1),
    ("apps", 17_800, 15),
    ("events.k8s.io", 17_750, 15),
    ("authentication.k8s.io", 17_700, 15),
    ("authorization.k8s.io", 17_600, 15),
    ("autoscaling", 17_500, 30),
    ("batch", 17_400, 15),
    ("certificates.k8s.io", 17_300, 15),
    ("networking.k8s.io", 17_200, 15),
    ("policy", 17_100, 15),
    ("rbac.authorization.k8s.io", 17_000, 15),
    ("storage.k8s.io", 16_800, 15),
    ("apiextensions.k8s.io", 16_700, 15),
    ("admissionregistration.k8s.io", 16_700, 15),
    ("scheduling.k8s.io", 16_600, 15),
    ("coordination.k8s.io", 16_500, 15),
    ("node.k8s.io", 16_300, 15),
    ("discovery.k8s.io", 16_200, 15),
    ("flowcontrol.apiserver.k8s.io", 16_100, 21),
    ("internal.apiserver.k8s.io", 16_000, 10),
    ("resource.k8s.io", 15_900, 20),
    ("apiregistration.k8s.io", 20_000, 15),
];

/// Priority of a group of ours and of its newest version; none of groups that definitions make.
pub fn api_priority(group: &str) -> Option<(i64, i64)> {
    let found = PRIORITIES.iter().find(|(name, ..)| *name == group);
    found.map(|(_, group, version)| (*group, *version))
}

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let (name, wanted) = (meta::name(object), format!("{version}.{group}"));
    if name != wanted {
        let message = format!("must be `spec.version+\".\"+spec.group`: \"{wanted}\"");
        causes.push(invalid("metadata.name", name, &message));
    }
    if group.is_empty() && version != "v1" {
        causes.push(required(
            "spec.group",
            "only v1 may have an empty group and it better be legacy kube",
        ));
    }
    if !group.is_empty() {
        rules::named(&spec["group"], "spec.group", validate::dns_subdomain, causes);
    }
    let problems = validate::dns_1035_label(version, false);
    causes.extend(problems.iter().map(|p| invalid("spec.version", version, p)));
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let n = spec[field].as_i64().unwrap_or(0);
        if n <= 0 || n > most {
            let shown = if most == 20_000 { "20000" } else { "1000" };
            let message = format!("must be positive and less than {shown}");
            causes.push(invalid(&format!("spec.{field}"), n, &message));
        }
    }
    let (service, bundle) = (&spec["service"], !text(spec, "caBundle").is_empty());
    let insecure = spec["insecureSkipTLSVerify"] == true;
    if !service.is_object() {
        if bundle {
            let message = "local APIServices may not have a caBundle";
            causes.push(invalid("spec.caBundle", spec["caBundle"].clone(), message));
        }
        return;
    }
    for field in ["namespace", "name"] {
        rules::required(&service[field], &format!("spec.service.{field}"), "", causes);
    }
    if insecure && bundle {
        let message = "may not be true if caBundle is present";
        causes.push(invalid("spec.insecureSkipTLSVerify", true, message));
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let service = &o["spec"]["service"];
    let shown = match service.is_object() {
        true => format!("{}/{}", text(service, "namespace"), text(service, "name")),
        false => "Local".to_owned(),
    };
    let available = list(&o["status"], "conditions").iter().find(|c| c["type"] == "Available");
    let available = match available {
        None => "Unknown".to_owned(),
        Some(c) if c["status"] == "True" => "True".to_owned(),
        Some(c) => format!("{} ({})", text(c, "status"), text(c, "reason")),
    };
    vec![rules::name_cell(o), shown.into(), available.into(), rules::age_cell(o, now)]
}
