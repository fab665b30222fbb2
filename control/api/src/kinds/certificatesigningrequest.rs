//! certificates.k8s.io/v1 CertificateSigningRequest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, col, part, status};
use super::{Causes, KindInfo, STATUS_VERBS, SubresourceInfo};
use crate::meta::{self, list, text};
use crate::time::{self, Timestamp};
use crate::validate::{self, duplicate, forbidden, invalid, required};

/// Shortest life that may be asked for, in seconds.
const EXPIRATION_MIN: i64 = 600;
const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
const END: &str = "-----END CERTIFICATE REQUEST-----";
/// What a key may be for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// CertificateSigningRequest.
pub static CERTIFICATE_SIGNING_REQUEST: KindInfo = KindInfo {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    namespaced: false,
    status_subresource: true,
    subresources: &[
        SubresourceInfo {
            take: approve,
            validate: validate_approval,
            ..part("approval", "CertificateSigningRequest", STATUS_VERBS)
        },
        status("CertificateSigningRequest"),
    ],
    columns: &[
        NAME,
        AGE,
        col("SignerName"),
        col("Requestor"),
        col("RequestedDuration"),
        col("Condition"),
    ],
    cells,
    fields: &["spec.signerName"],
    default: |object| {
        let Some(status) = object.get_mut("status") else { return };
        for condition in meta::items(status, "conditions") {
            if let Some(condition) = condition.as_object_mut() {
                meta::or_set(condition, "status", "True");
            }
        }
    },
    prepare_caller: requested_by,
    // What was asked for is not changed afterwards.
    prepare_update: |new, old| new["spec"] = old["spec"].clone(),
    name_rule: validate::path_segment,
    validate,
    validate_status: conditions,
    ..BASE
};

/// Who asks is what the server knows of the caller, whatever the body says.
fn requested_by(object: &mut Value, user: &str, groups: &[String]) {
    let spec = meta::map(object, "spec");
    for field in ["uid", "extra"] {
        spec.remove(field);
    }
    spec.insert("username".to_owned(), json!(user));
    spec.insert("groups".to_owned(), json!(groups));
}

/// Approval says Approved or Denied; the certificate is the signer's.
fn approve(new: &mut Value, body: &Value) {
    meta::map(new, "status").insert("conditions".to_owned(), body["status"]["conditions"].clone());
}

fn validate_approval(new: &Value, old: &Value, causes: &mut Causes) {
    conditions(new, causes);
    for kind in ["Approved", "Denied", "Failed"] {
        let has = |o: &Value| list(&o["status"], "conditions").iter().any(|c| c["type"] == kind);
        if has(old) && !has(new) {
            let message = format!("updates may not remove a condition of type \"{kind}\"");
            causes.push(forbidden("status.conditions", &message));
        }
    }
}

fn conditions(object: &Value, causes: &mut Causes) {
    let mut seen = Vec::new();
    for (i, condition) in list(&object["status"], "conditions").iter().enumerate() {
        let at = format!("status.conditions[{i}]");
        let kind = text(condition, "type");
        if kind.is_empty() {
            causes.push(required(&format!("{at}.type"), ""));
        }
        let states = &["False", "True", "Unknown"];
        rules::required_of(&condition["status"], &format!("{at}.status"), states, causes);
        if matches!(kind, "Approved" | "Denied" | "Failed") && condition["status"] != "True" {
            let field = format!("{at}.status");
            causes.push(validate::not_supported(&field, text(condition, "status"), &["True"]));
        }
        if seen.contains(&kind) {
            causes.push(duplicate(&format!("{at}.type"), kind));
        }
        seen.push(kind);
    }
    if seen.contains(&"Approved") && seen.contains(&"Denied") {
        let message = "Approved and Denied conditions are mutually exclusive";
        let shown = object["status"]["conditions"].clone();
        causes.push(invalid("status.conditions", shown, message));
    }
}

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    if let Some(problem) = request_problem(text(spec, "request")) {
        causes.push(invalid("spec.request", spec["request"].clone(), problem));
    }
    if list(spec, "usages").is_empty() {
        causes.push(required("spec.usages", "usages must be provided"));
    }
    for (i, usage) in list(spec, "usages").iter().enumerate() {
        rules::one_of(usage, &format!("spec.usages[{i}]"), &USAGES, causes);
        if list(spec, "usages")[..i].contains(usage) {
            causes.push(duplicate(&format!("spec.usages[{i}]"), usage.clone()));
        }
    }
    signer_name(text(spec, "signerName"), causes);
    if let Some(n) = spec["expirationSeconds"].as_i64().filter(|n| *n < EXPIRATION_MIN) {
        let message = "may not specify a duration less than 600 seconds (10 minutes)";
        causes.push(invalid("spec.expirationSeconds", n, message));
    }
}

/// The key in it is looked at by the signer.
fn request_problem(encoded: &str) -> Option<&'static str> {
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let Ok(pem) = std::str::from_utf8(&bytes) else {
        return Some("PEM block type must be CERTIFICATE REQUEST");
    };
    let body = pem.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let der = body.map(|b| b.split_whitespace().collect::<String>());
    match der.map(|d| STANDARD.decode(d)) {
        None => Some("PEM block type must be CERTIFICATE REQUEST"),
        // A request is a sequence (RFC 2986, section 4).
        Some(Ok(der)) if der.first() == Some(&0x30) => None,
        Some(_) => Some("malformed certificate request"),
    }
}

/// `example.com/signer`
fn signer_name(name: &str, causes: &mut Causes) {
    let field = "spec.signerName";
    if name.is_empty() {
        causes.push(required(field, ""));
        return;
    }
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [domain, path] if !path.is_empty() => {
            if domain.split('.').count() < 2 {
                let message = "should be a domain with at least two segments separated by dots";
                causes.push(invalid(field, name, message));
            }
            for part in [domain, path] {
                let problems = validate::dns_subdomain(part, false);
                causes.extend(problems.iter().map(|p| invalid(field, name, p)));
            }
        }
        _ => {
            let message =
                "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            causes.push(invalid(field, name, message));
        }
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &o["spec"];
    let duration = spec["expirationSeconds"].as_i64().map(time::human_duration);
    let has = |kind: &str| list(&o["status"], "conditions").iter().any(|c| c["type"] == kind);
    let mut state = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !text(&o["status"], "certificate").is_empty() {
        state.push_str(",Issued");
    }
    vec![
        rules::name_cell(o),
        rules::age_cell(o, now),
        rules::or_none(text(spec, "signerName").to_owned()).into(),
        text(spec, "username").into(),
        rules::or_none(duration.unwrap_or_default()).into(),
        state.into(),
    ]
}
