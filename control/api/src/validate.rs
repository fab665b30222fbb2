//! Names, labels and field problems in upstream's words.
//!
//! In: text, or an object's metadata. Out: problems, empty when there are none.

use serde_json::Value;

use crate::kinds::{Causes, KindInfo};
use crate::status::Cause;

pub mod address;
pub mod field;
pub use field::{
    duplicate, forbidden, invalid, not_found, not_supported, required, too_long, too_many,
};

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
/// Most bytes all annotations of an object may have.
const ANNOTATIONS_MAX: usize = 256 * 1024;

fn lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(s: &str) -> bool {
    let b = s.as_bytes();
    !b.is_empty()
        && lower(b[0])
        && lower(b[b.len() - 1])
        && b.iter().all(|&c| lower(c) || c == b'-')
}

fn is_qualified(s: &str) -> bool {
    let b = s.as_bytes();
    let edge = |c: u8| c.is_ascii_alphanumeric();
    !b.is_empty()
        && edge(b[0])
        && edge(b[b.len() - 1])
        && b.iter().all(|&c| edge(c) || b"-_.".contains(&c))
}

fn sized(s: &str, max: usize, ok: bool, words: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if s.len() > max {
        problems.push(format!("must be no more than {max} characters"));
    }
    if !ok {
        problems.push(words.to_owned());
    }
    problems
}

fn for_prefix(s: &str, prefix: bool) -> std::borrow::Cow<'_, str> {
    if prefix && s.ends_with('-') { format!("{}a", &s[..s.len() - 1]).into() } else { s.into() }
}

/// RFC 1123 label, as namespaces and containers are named. `prefix`: a generateName.
pub fn dns_label(s: &str, prefix: bool) -> Vec<String> {
    let s = for_prefix(s, prefix);
    sized(&s, 63, is_label(&s), LABEL)
}

/// RFC 1123 subdomain, as most things are named.
pub fn dns_subdomain(s: &str, prefix: bool) -> Vec<String> {
    let s = for_prefix(s, prefix);
    sized(&s, 253, s.split('.').all(is_label), SUBDOMAIN)
}

/// RFC 1035 label, as Services are named.
pub fn dns_1035_label(s: &str, prefix: bool) -> Vec<String> {
    let s = for_prefix(s, prefix);
    sized(&s, 63, is_label(&s) && s.as_bytes()[0].is_ascii_lowercase(), LABEL_1035)
}

/// Anything that can be a path segment.
pub fn path_segment(s: &str, prefix: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if !prefix && (s == "." || s == "..") {
        problems.push(format!("may not be '{s}'"));
    }
    problems.extend(
        ['/', '%'].iter().filter(|c| s.contains(**c)).map(|c| format!("may not contain '{c}'")),
    );
    problems
}

/// Label or annotation key.
pub fn label_key(s: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let name = match s.split_once('/') {
        Some((prefix, name)) => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(
                    dns_subdomain(prefix, false).into_iter().map(|p| format!("prefix part {p}")),
                );
            }
            name
        }
        None => s,
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        problems.push("name part must be no more than 63 characters".to_owned());
    }
    if !is_qualified(name) {
        problems.push(QUALIFIED.to_owned());
    }
    problems
}

/// Label value.
pub fn label_value(s: &str) -> Vec<String> {
    sized(s, 63, s.is_empty() || is_qualified(s), LABEL_VALUE)
}

/// Key in a ConfigMap or Secret.
pub fn config_key(s: &str) -> Vec<String> {
    let ok = !s.is_empty() && s.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c));
    let mut problems = sized(s, 253, ok, CONFIG_KEY);
    if s == "." || s == ".." {
        problems.push(format!("must not be '{s}'"));
    }
    problems
}

/// Name of a port, as targetPort may refer to it.
pub fn port_name(s: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if s.len() > 15 {
        problems.push("must be no more than 15 characters".to_owned());
    }
    if !s.bytes().all(|c| lower(c) || c == b'-') {
        problems.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !s.bytes().any(|c| c.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if s.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if s.starts_with('-') || s.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// 1 to 65535.
pub fn port_number(n: i64) -> Option<&'static str> {
    (!(1..=65_535).contains(&n)).then_some("must be between 1 and 65535, inclusive")
}

/// Labels map at `path`.
pub fn labels(map: &Value, path: &str, causes: &mut Causes) {
    for (key, value) in map.as_object().into_iter().flatten() {
        for problem in label_key(key) {
            causes.push(invalid(path, key.as_str(), &problem));
        }
        for problem in label_value(value.as_str().unwrap_or_default()) {
            causes.push(invalid(path, value.as_str().unwrap_or_default(), &problem));
        }
    }
}

/// ObjectMeta of a whole object.
pub fn metadata(kind: &KindInfo, object: &Value, causes: &mut Causes) {
    let meta = &object["metadata"];
    if let Some(prefix) = meta["generateName"].as_str().filter(|s| !s.is_empty()) {
        for problem in (kind.name_rule)(prefix, true) {
            causes.push(invalid("metadata.generateName", prefix, &problem));
        }
    }
    match meta["name"].as_str().filter(|s| !s.is_empty()) {
        None => causes.push(required("metadata.name", "name or generateName is required")),
        Some(name) => {
            let problems = (kind.name_rule)(name, false);
            causes.extend(problems.iter().map(|p| invalid("metadata.name", name, p)));
        }
    }
    if kind.namespaced {
        let namespace = meta["namespace"].as_str().unwrap_or_default();
        causes.extend(
            dns_label(namespace, false).iter().map(|p| invalid("metadata.namespace", namespace, p)),
        );
    } else if meta["namespace"].as_str().is_some_and(|s| !s.is_empty()) {
        causes.push(forbidden("metadata.namespace", "not allowed on this type"));
    }
    labels(&meta["labels"], "metadata.labels", causes);
    annotations(&meta["annotations"], causes);
    owners_and_finalizers(meta, causes);
}

fn annotations(map: &Value, causes: &mut Causes) {
    let mut size = 0;
    for (key, value) in map.as_object().into_iter().flatten() {
        for problem in label_key(&key.to_lowercase()) {
            causes.push(invalid("metadata.annotations", key.as_str(), &problem));
        }
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > ANNOTATIONS_MAX {
        causes.push(too_long("metadata.annotations", ANNOTATIONS_MAX));
    }
}

fn owners_and_finalizers(meta: &Value, causes: &mut Causes) {
    let mut controllers = 0;
    for (i, owner) in meta["ownerReferences"].as_array().into_iter().flatten().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                causes.push(required(
                    &format!("metadata.ownerReferences[{i}].{field}"),
                    "must not be empty",
                ));
            }
        }
        controllers += usize::from(owner["controller"].as_bool() == Some(true));
    }
    if controllers > 1 {
        causes.push(Cause {
            reason: "FieldValueInvalid".into(),
            message: "Invalid value: Only one reference can have Controller set to true".to_owned(),
            field: "metadata.ownerReferences".to_owned(),
        });
    }
    for (i, finalizer) in meta["finalizers"].as_array().into_iter().flatten().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        let plain = matches!(name, "orphan" | "foregroundDeletion" | "kubernetes");
        let field = format!("metadata.finalizers[{i}]");
        causes.extend(label_key(name).iter().map(|p| invalid(&field, name, p)));
        if !plain && !name.contains('/') && label_key(name).is_empty() {
            causes.push(invalid(
                &field,
                name,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
}
