//! resource.k8s.io/v1: devices for pods (KEP-4381). Allocating them is not done here.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col, status};
use super::{Causes, KindInfo};
use crate::meta::{list, or_set, text};
use crate::validate::{self, duplicate, invalid, required};

const GROUP: &str = "resource.k8s.io";
/// Most requests of a claim, and most devices of a slice.
const REQUESTS_MAX: usize = 32;
const DEVICES_MAX: usize = 128;

/// ResourceClaim.
pub static RESOURCE_CLAIM: KindInfo = KindInfo {
    group: GROUP,
    kind: "ResourceClaim",
    plural: "resourceclaims",
    singular: "resourceclaim",
    status_subresource: true,
    subresources: &[status("ResourceClaim")],
    columns: &[NAME, col("State"), AGE],
    cells: |o, now| vec![rules::name_cell(o), state(o).into(), rules::age_cell(o, now)],
    default: |object| {
        if let Some(spec) = object.get_mut("spec") {
            default_requests(spec);
        }
    },
    validate: |object, causes| claim(&object["spec"], "spec", causes),
    validate_update: |new, old, causes| {
        rules::immutable(&new["spec"], &old["spec"], "spec", causes);
    },
    ..BASE
};

/// ResourceClaimTemplate.
pub static RESOURCE_CLAIM_TEMPLATE: KindInfo = KindInfo {
    group: GROUP,
    kind: "ResourceClaimTemplate",
    plural: "resourceclaimtemplates",
    singular: "resourceclaimtemplate",
    default: |object| {
        if let Some(spec) = object.pointer_mut("/spec/spec") {
            default_requests(spec);
        }
    },
    validate: |object, causes| claim(&object["spec"]["spec"], "spec.spec", causes),
    validate_update: |new, old, causes| {
        rules::immutable(&new["spec"], &old["spec"], "spec", causes);
    },
    ..BASE
};

/// DeviceClass.
pub static DEVICE_CLASS: KindInfo = KindInfo {
    group: GROUP,
    kind: "DeviceClass",
    plural: "deviceclasses",
    singular: "deviceclass",
    namespaced: false,
    generation: true,
    validate: |object, causes| {
        for (i, selector) in list(&object["spec"], "selectors").iter().enumerate() {
            let field = format!("spec.selectors[{i}].cel.expression");
            rules::required(&selector["cel"]["expression"], &field, "", causes);
        }
    },
    ..BASE
};

/// ResourceSlice.
pub static RESOURCE_SLICE: KindInfo = KindInfo {
    group: GROUP,
    kind: "ResourceSlice",
    plural: "resourceslices",
    singular: "resourceslice",
    namespaced: false,
    generation: true,
    columns: &[NAME, col("Node"), col("Driver"), col("Pool"), AGE],
    cells: |o, now| {
        let spec = &o["spec"];
        vec![
            rules::name_cell(o),
            rules::or_unset(text(spec, "nodeName")),
            text(spec, "driver").into(),
            text(&spec["pool"], "name").into(),
            rules::age_cell(o, now),
        ]
    },
    fields: &["spec.nodeName", "spec.driver"],
    validate: slice,
    validate_update: |new, old, causes| {
        for field in ["driver", "nodeName"] {
            let at = format!("spec.{field}");
            rules::immutable(&new["spec"][field], &old["spec"][field], &at, causes);
        }
        let (new, old) = (&new["spec"]["pool"]["name"], &old["spec"]["pool"]["name"]);
        rules::immutable(new, old, "spec.pool.name", causes);
    },
    ..BASE
};

fn default_requests(spec: &mut Value) {
    let Some(devices) = spec.get_mut("devices") else { return };
    for request in crate::meta::items(devices, "requests") {
        let Some(exactly) = request.get_mut("exactly").and_then(Value::as_object_mut) else {
            continue;
        };
        or_set(exactly, "allocationMode", "ExactCount");
        if exactly["allocationMode"] == "ExactCount" {
            or_set(exactly, "count", 1);
        }
    }
}

fn claim(spec: &Value, path: &str, causes: &mut Causes) {
    let requests = list(&spec["devices"], "requests");
    let at = format!("{path}.devices.requests");
    if requests.len() > REQUESTS_MAX {
        causes.push(validate::too_many(&at, requests.len(), REQUESTS_MAX));
    }
    let mut names = Vec::new();
    for (i, request) in requests.iter().enumerate() {
        let at = format!("{at}[{i}]");
        let name = text(request, "name");
        if rules::required(&request["name"], &format!("{at}.name"), "", causes) {
            rules::named(&request["name"], &format!("{at}.name"), validate::dns_label, causes);
        }
        if names.contains(&name) {
            causes.push(duplicate(&format!("{at}.name"), name));
        }
        names.push(name);
        let (exactly, first) = (&request["exactly"], !list(request, "firstAvailable").is_empty());
        if exactly.is_object() == first {
            let message = if first {
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
            } else {
                "exactly one of `exactly` or `firstAvailable` is required"
            };
            causes.push(match first {
                true => invalid(&at, "", message),
                false => required(&at, message),
            });
        }
        if exactly.is_object() {
            let field = format!("{at}.exactly.deviceClassName");
            rules::required(&exactly["deviceClassName"], &field, "", causes);
            let modes = &["All", "ExactCount"];
            let field = format!("{at}.exactly.allocationMode");
            rules::one_of(&exactly["allocationMode"], &field, modes, causes);
            if let Some(n) = exactly["count"].as_i64().filter(|n| *n <= 0) {
                let field = format!("{at}.exactly.count");
                causes.push(invalid(&field, n, "must be greater than zero"));
            }
        }
    }
}

fn slice(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    if rules::required(&spec["driver"], "spec.driver", "", causes) {
        rules::named(&spec["driver"], "spec.driver", validate::dns_subdomain, causes);
    }
    rules::required(&spec["pool"]["name"], "spec.pool.name", "", causes);
    let count = spec["pool"]["resourceSliceCount"].as_i64().unwrap_or(0);
    if count <= 0 {
        let field = "spec.pool.resourceSliceCount";
        causes.push(invalid(field, count, "must be greater than zero"));
    }
    rules::not_negative(&spec["pool"]["generation"], "spec.pool.generation", causes);
    let places = [
        !text(spec, "nodeName").is_empty(),
        spec["nodeSelector"].is_object(),
        spec["allNodes"] == true,
        spec["perDeviceNodeSelection"] == true,
    ];
    if places.iter().filter(|p| **p).count() != 1 {
        let message = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        causes.push(required("spec", message));
    }
    let devices = list(spec, "devices");
    if devices.len() > DEVICES_MAX {
        causes.push(validate::too_many("spec.devices", devices.len(), DEVICES_MAX));
    }
    let mut names = Vec::new();
    for (i, device) in devices.iter().enumerate() {
        let field = format!("spec.devices[{i}].name");
        if rules::required(&device["name"], &field, "", causes) {
            rules::named(&device["name"], &field, validate::dns_label, causes);
        }
        if names.contains(&&device["name"]) {
            causes.push(duplicate(&field, text(device, "name")));
        }
        names.push(&device["name"]);
    }
}

fn state(object: &Value) -> String {
    let mut states = Vec::new();
    if crate::meta::deleting(object) {
        states.push("deleted");
    }
    let status = &object["status"];
    if status["allocation"].is_object() {
        states.push("allocated");
    }
    if !list(status, "reservedFor").is_empty() {
        states.push("reserved");
    }
    if states.is_empty() { "pending".to_owned() } else { states.join(",") }
}
