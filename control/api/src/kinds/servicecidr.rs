//! networking.k8s.io/v1 ServiceCIDR and IPAddress (KEP-1880).

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col, status};
use super::{Causes, KindInfo};
use crate::meta::{self, list, text};
use crate::validate::{address, forbidden, invalid, required};

/// ServiceCIDR.
pub static SERVICE_CIDR: KindInfo = KindInfo {
    group: "networking.k8s.io",
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    namespaced: false,
    status_subresource: true,
    generation: true,
    subresources: &[status("ServiceCIDR")],
    columns: &[NAME, col("CIDRs"), AGE],
    cells: |o, now| {
        let ranges = rules::joined(&o["spec"]["cidrs"], ",");
        vec![rules::name_cell(o), ranges.into(), rules::age_cell(o, now)]
    },
    validate: validate_ranges,
    validate_update: |new, old, causes| {
        let (new, old) = (&new["spec"]["cidrs"], &old["spec"]["cidrs"]);
        rules::immutable(new, old, "spec.cidrs", causes);
    },
    ..BASE
};

/// IPAddress. Its name is the address.
pub static IP_ADDRESS: KindInfo = KindInfo {
    group: "networking.k8s.io",
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    namespaced: false,
    generation: true,
    columns: &[NAME, col("ParentRef"), AGE],
    cells: |o, now| {
        let parent = parent(&o["spec"]["parentRef"]);
        vec![rules::name_cell(o), parent.into(), rules::age_cell(o, now)]
    },
    name_rule: |name, prefix| {
        let canonical = name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_string() == name);
        if prefix || canonical {
            Vec::new()
        } else {
            vec!["must be a valid IP address in canonical form".to_owned()]
        }
    },
    validate: validate_address,
    validate_update: |new, old, causes| {
        rules::immutable(&new["spec"], &old["spec"], "spec", causes);
    },
    ..BASE
};

fn validate_ranges(object: &Value, causes: &mut Causes) {
    let ranges = list(&object["spec"], "cidrs");
    if ranges.is_empty() {
        causes.push(required("spec.cidrs", "at least one CIDR required"));
    }
    if ranges.len() > 2 {
        let message = "may only hold up to 2 values";
        causes.push(invalid("spec", object["spec"].clone(), message));
    }
    let mut families = Vec::new();
    for (i, range) in ranges.iter().enumerate() {
        let field = format!("spec.cidrs[{i}]");
        let parsed = address::range(range.as_str().unwrap_or_default(), &field, causes);
        families.extend(parsed.map(|(ip, _)| ip.is_ipv4()));
    }
    if families.len() == 2 && families[0] == families[1] {
        let message = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96";
        causes.push(invalid("spec", object["spec"].clone(), message));
    }
}

fn validate_address(object: &Value, causes: &mut Causes) {
    let parent = &object["spec"]["parentRef"];
    if !parent.is_object() {
        causes.push(required("spec.parentRef", ""));
        return;
    }
    for field in ["resource", "name"] {
        rules::required(&parent[field], &format!("spec.parentRef.{field}"), "", causes);
    }
    if !meta::namespace(object).is_empty() {
        causes.push(forbidden("metadata.namespace", "not allowed on this type"));
    }
}

/// `services.group/namespace/name`, parts that are empty left out.
fn parent(parent: &Value) -> String {
    let resource = match text(parent, "group") {
        "" => text(parent, "resource").to_owned(),
        group => format!("{}.{group}", text(parent, "resource")),
    };
    let parts = [resource.as_str(), text(parent, "namespace"), text(parent, "name")];
    parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("/")
}
