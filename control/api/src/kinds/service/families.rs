//! ClusterIPs and the address families that they are of.

use std::net::IpAddr;

use serde_json::Value;

use super::Shape;
use crate::kinds::Causes;
use crate::kinds::rules::one_of;
use crate::meta::{list, text};
use crate::validate::{address, duplicate, invalid, not_supported, required};

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];

/// Each field for itself, then whether they agree.
pub(super) fn validate(shape: &Shape<'_>, causes: &mut Causes) {
    let spec = shape.spec;
    let ips = list(spec, "clusterIPs");
    in_sync(spec, ips, causes);
    let mut seen: Vec<&Value> = Vec::new();
    for (i, family) in list(spec, "ipFamilies").iter().enumerate() {
        let field = format!("spec.ipFamilies[{i}]");
        if !family.as_str().is_some_and(|f| FAMILIES.contains(&f)) {
            causes.push(not_supported(&field, family.clone(), &FAMILIES));
        }
        if seen.contains(&family) {
            causes.push(duplicate(&field, family.clone()));
        }
        seen.push(family);
    }
    one_of(&spec["ipFamilyPolicy"], "spec.ipFamilyPolicy", &POLICIES, causes);
    let before = causes.len();
    addresses(ips, causes);
    if causes.len() == before {
        agree(shape, ips, causes);
    }
}

fn in_sync(spec: &Value, ips: &[Value], causes: &mut Causes) {
    let (one, all) = (text(spec, "clusterIP"), "spec.clusterIPs");
    match (one, ips) {
        ("", []) => {}
        ("", _) => {
            let message = "must be empty when `clusterIP` is not specified";
            causes.push(invalid(all, ips.to_vec(), message));
        }
        (_, []) => causes.push(required(all, "")),
        (one, [first, ..]) if first != one => {
            causes.push(invalid(all, ips.to_vec(), "first value must match `clusterIP`"));
        }
        _ => {}
    }
}

fn addresses(ips: &[Value], causes: &mut Causes) {
    for (i, ip) in ips.iter().enumerate() {
        if i == 0 && ip == "None" {
            if ips.len() > 1 {
                let message = "'None' must be the first and only value";
                causes.push(invalid("spec.clusterIPs", ips.to_vec(), message));
            }
            continue;
        }
        address::valid(ip.as_str().unwrap_or_default(), &format!("spec.clusterIPs[{i}]"), causes);
    }
    if ips.len() > 2 {
        causes.push(invalid("spec.clusterIPs", ips.to_vec(), "may only hold up to 2 values"));
    }
}

fn agree(shape: &Shape<'_>, ips: &[Value], causes: &mut Causes) {
    let families: Vec<&str> = ips.iter().filter_map(family).collect();
    if matches!(families.as_slice(), [a, b] if a == b) {
        let message = "may specify no more than one IP for each IP family";
        causes.push(invalid("spec.clusterIPs", ips.to_vec(), message));
    }
    if shape.headless() {
        return;
    }
    let wanted = list(shape.spec, "ipFamilies");
    for (i, (ip, wanted)) in ips.iter().zip(wanted).enumerate() {
        let known = wanted.as_str().filter(|w| FAMILIES.contains(w));
        if let Some(wanted) = known.filter(|w| Some(*w) != family(ip)) {
            let message = format!("expected an {wanted} value as indicated by `ipFamilies[{i}]`");
            causes.push(invalid(&format!("spec.clusterIPs[{i}]"), ip.clone(), &message));
        }
    }
}

fn family(ip: &Value) -> Option<&'static str> {
    let ip: IpAddr = ip.as_str()?.parse().ok()?;
    Some(if ip.is_ipv4() { FAMILIES[0] } else { FAMILIES[1] })
}

/// Families and addresses may be added and taken away at the end; the first ones stay.
pub(super) fn validate_update(new: &Shape<'_>, old: &Shape<'_>, causes: &mut Causes) {
    if new.external_name() || old.external_name() || (new.headless() && old.headless()) {
        return;
    }
    for (field, what) in [("clusterIPs", "clusterIP"), ("ipFamilies", "ipFamily")] {
        if field == "ipFamilies" && new.headless() != old.headless() {
            return;
        }
        stay(new, list(new.spec, field), list(old.spec, field), field, what, causes);
    }
}

fn stay(
    shape: &Shape<'_>,
    new: &[Value],
    old: &[Value],
    field: &str,
    what: &str,
    causes: &mut Causes,
) {
    if new.is_empty() && !old.is_empty() {
        let message = format!("primary {what} can not be unset");
        causes.push(invalid(&format!("spec.{field}[0]"), new.to_vec(), &message));
        return;
    }
    // While their number stays all must stay, else the first.
    let kept = if new.len() == old.len() { old.len() } else { 1 };
    for (i, _) in old.iter().zip(new).take(kept).enumerate().filter(|(_, (a, b))| a != b) {
        causes.push(invalid(
            &format!("spec.{field}[{i}]"),
            new.to_vec(),
            "may not change once set",
        ));
    }
    if new.len() == 1 && old.len() > 1 && shape.spec["ipFamilyPolicy"] != "SingleStack" {
        let message = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        let policy = shape.spec["ipFamilyPolicy"].clone();
        causes.push(invalid("spec.ipFamilyPolicy", policy, &message));
    }
}
