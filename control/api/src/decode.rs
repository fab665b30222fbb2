//! From bytes to an object of a known kind, with upstream's words for everything that can be wrong.
//!
//! In: JSON or YAML bytes. Out: a value whose fields the kind knows, and what was dropped from it.

use serde_json::Value;

use crate::kinds::{KindInfo, Kinds};
use crate::status::ApiError;

mod json;
pub mod strict;

use strict::Segment;

/// A parsed body.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The value; of a duplicate field the last one counts.
    pub value: Value,
    /// Paths of duplicate fields.
    pub duplicates: Vec<String>,
}

/// Parses JSON.
pub fn json(bytes: &[u8]) -> Result<Parsed, ApiError> {
    json::parse(bytes).map_err(|e| {
        ApiError::bad_request(format!("error decoding the request body: invalid JSON: {e}"))
    })
}

/// Parses YAML (or JSON, which is YAML too).
pub fn yaml(bytes: &[u8]) -> Result<Parsed, ApiError> {
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        return json(bytes);
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ApiError::bad_request("error decoding the request body: not UTF-8"))?;
    let value = serde_saphyr::from_str::<Value>(text)
        .map_err(|e| ApiError::bad_request(format!("error converting YAML to JSON: yaml: {e}")))?;
    Ok(Parsed { value, duplicates: Vec::new() })
}

/// Checks apiVersion and kind against the URL's, filling them in where absent, and that the body is an object.
pub fn type_meta(kind: &KindInfo, value: &mut Value) -> Result<(), ApiError> {
    expect(value, &kind.api_version(), kind.kind)
}

/// The same for bodies that are not of a stored kind (`Scale`, `Binding`, `Eviction`).
pub fn expect(value: &mut Value, api_version: &str, kind: &str) -> Result<(), ApiError> {
    let Some(map) = value.as_object_mut() else {
        return Err(ApiError::bad_request(
            "error decoding the request body: the body must be an object",
        ));
    };
    for (field, wanted) in [("apiVersion", api_version), ("kind", kind)] {
        match map.get(field).and_then(Value::as_str).unwrap_or_default() {
            "" => drop(map.insert(field.to_owned(), Value::from(wanted))),
            same if same == wanted => {}
            other => return Err(wrong_type(map, api_version, kind, other)),
        }
    }
    Ok(())
}

fn wrong_type(
    map: &serde_json::Map<String, Value>,
    api_version: &str,
    kind: &str,
    _: &str,
) -> ApiError {
    let has = |f: &str, or: &str| map.get(f).and_then(Value::as_str).unwrap_or(or).to_owned();
    let (sent_version, sent_kind) = (has("apiVersion", api_version), has("kind", kind));
    let (group, version) = sent_version.split_once('/').unwrap_or(("", &sent_version));
    if Kinds::builtin().by_kind(group, version, &sent_kind).is_none() && sent_kind != kind {
        let message = format!(
            "no kind \"{sent_kind}\" is registered for version \"{sent_version}\" in scheme \"beeline\""
        );
        return ApiError::bad_request(message);
    }
    if sent_version == api_version {
        let message = format!("{sent_kind} in version \"{version}\" cannot be handled as a {kind}");
        return ApiError::bad_request(message);
    }
    ApiError::bad_request(format!(
        "the API version in the data ({sent_version}) does not match the expected API version ({api_version})"
    ))
}

/// Checks every field against the kind's type and removes unknown fields and nulls.
/// Gives the problems that `fieldValidation` decides about: `unknown field "spec.x"`.
pub fn fields(
    kind: &KindInfo,
    value: &mut Value,
    duplicates: &[String],
) -> Result<Vec<String>, ApiError> {
    let unfit = |why: String| {
        let k = kind.kind;
        ApiError::bad_request(format!(
            "{k} in version \"{}\" cannot be handled as a {k}: {why}",
            kind.version
        ))
    };
    let duplicated = duplicates.iter().map(|d| format!("duplicate field \"{d}\""));
    if let Some(custom) = kind.custom {
        let unknown = custom.prune(value).map_err(unfit)?;
        let unknown = unknown.iter().map(|path| format!("unknown field \"{path}\""));
        return Ok(unknown.chain(duplicated).collect());
    }
    let checked = strict::check(value, kind.schema());
    if let Some(why) = checked.error {
        return Err(unfit(why));
    }
    let mut problems = Vec::new();
    for path in &checked.unknown {
        problems.push(format!("unknown field \"{}\"", strict::dotted(path)));
        remove(value, path);
    }
    problems.extend(duplicated);
    drop_nulls(value);
    Ok(problems)
}

/// The refusal of `fieldValidation=Strict`.
pub fn strict_error(kind: &KindInfo, problems: &[String]) -> ApiError {
    let k = kind.kind;
    ApiError::bad_request(format!(
        "{k} in version \"{}\" cannot be handled as a {k}: strict decoding error: {}",
        kind.version,
        problems.join(", ")
    ))
}

pub(crate) fn remove(value: &mut Value, path: &[Segment]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut at = value;
    for segment in parents {
        let next = match segment {
            Segment::Field(name) => at.get_mut(name.as_str()),
            Segment::Index(i) => at.get_mut(*i),
        };
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
    if let (Segment::Field(name), Some(map)) = (last, at.as_object_mut()) {
        map.remove(name);
    }
}

/// Null is the same as absent.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
