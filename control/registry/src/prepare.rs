//! From a body to an object that may be stored: decoding, server-set fields, defaults, validation.

use beeline_api::decode;
use beeline_api::kinds::Causes;
use beeline_api::meta;
use beeline_api::time;
use beeline_api::validate;
use beeline_api::{ApiError, KindInfo};
use rand::Rng;
use serde_json::Value;

use crate::object::Object;
use crate::options::{FieldValidation, Subresource, Target, WriteOptions};
use crate::registry::Registry;

/// Characters of generated names: no vowels, no look-alikes.
const NAME_CHARS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Longest prefix of a generated name.
const GENERATE_PREFIX_MAX: usize = 58;

/// Type, unknown fields, and agreement with the URL.
pub(crate) fn body(target: &Target, value: &mut Value, o: &WriteOptions) -> Result<(), ApiError> {
    decode::type_meta(target.kind, value)?;
    fields(target.kind, value, o)?;
    agree(target, value)
}

/// Unknown fields and types, as `fieldValidation` asks.
pub(crate) fn fields(kind: &KindInfo, value: &mut Value, o: &WriteOptions) -> Result<(), ApiError> {
    let problems = decode::fields(kind, value, &o.duplicates)?;
    match o.field_validation {
        FieldValidation::Strict if !problems.is_empty() => {
            return Err(decode::strict_error(kind, &problems));
        }
        FieldValidation::Warn => problems.into_iter().for_each(|p| o.warnings.push(p)),
        FieldValidation::Strict | FieldValidation::Ignore => {}
    }
    Ok(())
}

/// Name and namespace of body and URL must not contradict each other.
pub(crate) fn agree(target: &Target, value: &mut Value) -> Result<(), ApiError> {
    let meta = meta::of(value);
    if target.kind.namespaced {
        let wanted = target.namespace.as_deref().unwrap_or_default();
        meta::or_set(meta, "namespace", wanted);
        if meta["namespace"] != wanted {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    if let Some(wanted) = &target.name {
        meta::or_set(meta, "name", wanted.as_str());
        let given = meta["name"].as_str().unwrap_or_default();
        if given != wanted {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({wanted})"
            )));
        }
    }
    Ok(())
}

/// A new object: server-set fields and defaults.
pub(crate) fn create(
    registry: &Registry,
    kind: &KindInfo,
    value: &mut Value,
) -> Result<(), ApiError> {
    let now = registry.now();
    let meta = meta::of(value);
    if meta.get("resourceVersion").and_then(Value::as_str).is_some_and(|v| !v.is_empty()) {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    for field in [
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "selfLink",
    ] {
        meta.remove(field);
    }
    meta.insert("uid".to_owned(), Value::from(uuid::Uuid::new_v4().to_string()));
    meta.insert("creationTimestamp".to_owned(), Value::from(time::format(now)));
    if kind.generation {
        meta.insert("generation".to_owned(), Value::from(1));
    }
    if kind.status_subresource
        && !kind.status_on_create
        && let Some(map) = value.as_object_mut()
    {
        map.remove("status");
    }
    Ok(())
}

/// What the server has set of a new object stays, whatever webhooks made of it.
pub(crate) fn keep_new(target: &Target, value: &mut Value, before: &Value) -> Result<(), ApiError> {
    let meta = meta::of(value);
    for field in ["uid", "creationTimestamp", "generation", "name", "managedFields"] {
        match &before[field] {
            Value::Null => drop(meta.remove(field)),
            kept => drop(meta.insert(field.to_owned(), kept.clone())),
        }
    }
    agree(target, value)
}

/// Who owns fields stays as it was said before webhooks saw the object.
pub(crate) fn keep_managers(value: &mut Value, managers: Value) {
    let meta = meta::of(value);
    match managers {
        Value::Null => drop(meta.remove("managedFields")),
        kept => drop(meta.insert("managedFields".to_owned(), kept)),
    }
}

/// A name out of `generateName`, where there is one and no name.
pub(crate) fn generate_name(value: &mut Value) -> bool {
    let meta = meta::of(value);
    let named = meta.get("name").and_then(Value::as_str).is_some_and(|n| !n.is_empty());
    let Some(prefix) = meta.get("generateName").and_then(Value::as_str).filter(|p| !p.is_empty())
    else {
        return false;
    };
    if named {
        return false;
    }
    let prefix: String = prefix.chars().take(GENERATE_PREFIX_MAX).collect();
    meta.insert("name".to_owned(), Value::from(format!("{prefix}{}", random_suffix())));
    true
}

/// Five letters that nobody reads words into.
pub(crate) fn random_suffix() -> String {
    let mut rng = rand::rng();
    (0..5).map(|_| char::from(NAME_CHARS[rng.random_range(0..NAME_CHARS.len())])).collect()
}

/// Validates a new object.
pub(crate) fn validate_create(kind: &KindInfo, value: &Value) -> Result<(), ApiError> {
    let mut causes = Causes::new();
    validate::metadata(kind, value, &mut causes);
    kind.check(value, &mut causes);
    refuse(kind, value, causes)
}

/// Validates a replacement.
pub(crate) fn validate_update(kind: &KindInfo, new: &Value, old: &Value) -> Result<(), ApiError> {
    let mut causes = Causes::new();
    validate::metadata(kind, new, &mut causes);
    kind.check_update(new, old, &mut causes);
    if meta::deleting(old) {
        let before = meta::finalizers(old);
        let added: Vec<&str> =
            meta::finalizers(new).into_iter().filter(|f| !before.contains(f)).collect();
        if !added.is_empty() {
            let message = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{\"{}\"}}",
                added.join("\", \"")
            );
            causes.push(validate::forbidden("metadata.finalizers", &message));
        }
    }
    refuse(kind, new, causes)
}

/// Validates what a write to `/status` made of an object.
pub(crate) fn validate_status(kind: &KindInfo, new: &Value, old: &Value) -> Result<(), ApiError> {
    let mut causes = Causes::new();
    kind.check_status(new, old, &mut causes);
    refuse(kind, new, causes)
}

/// Validates what a write to another part made of an object.
pub(crate) fn validate_part(
    kind: &KindInfo,
    part: Subresource,
    new: &Value,
    old: &Value,
) -> Result<(), ApiError> {
    let Some(part) = kind.subresource(part.name()) else { return Ok(()) };
    let mut causes = Causes::new();
    (part.validate)(new, old, &mut causes);
    refuse(kind, new, causes)
}

fn refuse(kind: &KindInfo, value: &Value, causes: Causes) -> Result<(), ApiError> {
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid(kind, meta::name(value), causes)) }
}

/// What the server keeps of an object's metadata, whatever an update says.
pub(crate) fn keep_metadata(new: &mut Value, old: &Value) {
    let before = &old["metadata"];
    let meta = meta::of(new);
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "selfLink",
        "name",
        "namespace",
        "generateName",
    ] {
        match &before[field] {
            Value::Null => drop(meta.remove(field)),
            kept => drop(meta.insert(field.to_owned(), kept.clone())),
        }
    }
    match meta.get("managedFields").and_then(Value::as_array) {
        // `[{}]` clears them.
        Some(given) if matches!(&given[..], [Value::Object(one)] if one.is_empty()) => {
            meta.remove("managedFields");
        }
        Some(given) if !given.is_empty() => {}
        _ => drop(meta.insert("managedFields".to_owned(), before["managedFields"].clone())),
    }
    meta.retain(|_, v| !v.is_null());
}

/// Objects of defined kinds are replaced only where the caller says which version of them he has seen.
pub(crate) fn names_version(kind: &KindInfo, body: &Value) -> Result<(), ApiError> {
    if kind.custom.is_none()
        || body["metadata"]["resourceVersion"].as_str().is_some_and(|v| !v.is_empty())
    {
        return Ok(());
    }
    let why = "must be specified for an update";
    let cause = validate::invalid("metadata.resourceVersion", 0, why);
    Err(ApiError::invalid(kind, meta::name(body), vec![cause]))
}

/// resourceVersion and uid in a body are preconditions.
pub(crate) fn preconditions(kind: &KindInfo, body: &Value, old: &Object) -> Result<(), ApiError> {
    let meta = &body["metadata"];
    let uid = meta["uid"].as_str().unwrap_or_default();
    if !uid.is_empty() && uid != old.uid() {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old.uid()
        );
        return Err(ApiError::conflict(kind, old.name(), &why));
    }
    match meta["resourceVersion"].as_str().unwrap_or_default() {
        "" | "0" => Ok(()),
        given => match given.parse::<u64>() {
            Ok(n) if n == old.revision.0 => Ok(()),
            Ok(_) => Err(ApiError::modified(kind, old.name())),
            Err(_) => Err(ApiError::bad_request(format!("invalid resource version \"{given}\""))),
        },
    }
}

/// Whether anything but metadata and status differs; of defined kinds without `/status`, the status counts.
pub(crate) fn spec_differs(kind: &KindInfo, new: &Value, old: &Value) -> bool {
    let status_counts = kind.custom.is_some() && !kind.status_subresource;
    let (Some(a), Some(b)) = (new.as_object(), old.as_object()) else { return new != old };
    let counts = |k: &&String| match k.as_str() {
        "metadata" | "apiVersion" | "kind" => false,
        "status" => status_counts,
        _ => true,
    };
    a.keys().chain(b.keys()).filter(counts).any(|k| a.get(k) != b.get(k))
}

/// Whether two versions are the same but for their revision.
pub(crate) fn same(new: &Value, old: &Value) -> bool {
    let (Some(a), Some(b)) = (new.as_object(), old.as_object()) else { return new == old };
    let meta_same = || {
        let (Some(a), Some(b)) = (
            a.get("metadata").and_then(Value::as_object),
            b.get("metadata").and_then(Value::as_object),
        ) else {
            return false;
        };
        let of = |m: &serde_json::Map<String, Value>, n: &serde_json::Map<String, Value>| {
            m.iter().filter(|(k, _)| *k != "resourceVersion").all(|(k, v)| n.get(k) == Some(v))
        };
        of(a, b) && of(b, a)
    };
    a.len() == b.len()
        && a.iter().filter(|(k, _)| *k != "metadata").all(|(k, v)| b.get(k) == Some(v))
        && meta_same()
}
