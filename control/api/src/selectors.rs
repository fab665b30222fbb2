//! Label and field selectors: parsed once, then asked many times.
//!
//! In: the text of a query parameter or a `LabelSelector` object. Out: yes or no for an object.

use serde_json::{Map, Value};

use crate::kinds::KindInfo;
use crate::status::ApiError;

mod labels;
pub use labels::{LabelSelector, Operator, Requirement};

/// `a=b,c!=d` over the fields a kind offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldTerm {
    field: String,
    equal: bool,
    value: String,
}

impl FieldSelector {
    /// Parses and checks the fields against what `kind` offers.
    pub fn parse(text: &str, kind: &KindInfo) -> Result<Self, ApiError> {
        let mut terms = Vec::new();
        for term in split_escaped(text) {
            if term.is_empty() {
                continue;
            }
            let mut parsed = parse_term(&term).ok_or_else(|| {
                ApiError::bad_request(format!("Unable to find \"{}\" that match label selector \"\", field selector \"{text}\": invalid selector: '{term}'; can't understand '{term}'", kind.plural))
            })?;
            let known = matches!(parsed.field.as_str(), "metadata.name" | "metadata.namespace")
                || kind.fields.contains(&parsed.field.as_str());
            if !known {
                return Err(ApiError::bad_request(format!(
                    "field label not supported: {}",
                    parsed.field
                )));
            }
            // Objects are looked at as they are stored.
            let stored = kind.view.and_then(|v| v.fields.iter().find(|(f, _)| *f == parsed.field));
            if let Some((_, stored)) = stored {
                (*stored).clone_into(&mut parsed.field);
            }
            terms.push(parsed);
        }
        Ok(Self { terms })
    }

    /// Selects one name: what `metadata.name=x` parses to.
    pub fn name_is(name: &str) -> Self {
        Self::is("metadata.name", name)
    }

    /// One term that must hold; the field must be one the kind offers.
    pub fn is(field: &str, value: &str) -> Self {
        Self {
            terms: vec![FieldTerm {
                field: field.to_owned(),
                equal: true,
                value: value.to_owned(),
            }],
        }
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The one name it selects, if it does.
    pub fn single_name(&self) -> Option<&str> {
        self.single("metadata.name")
    }

    /// The one value of a field that it selects, if it does.
    pub fn single(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }

    /// Whether the object matches.
    pub fn matches(&self, kind: &KindInfo, object: &Value) -> bool {
        self.terms.iter().all(|t| {
            let equal = match t.field.as_str() {
                "metadata.name" => {
                    object["metadata"]["name"].as_str().unwrap_or_default() == t.value
                }
                "metadata.namespace" => {
                    object["metadata"]["namespace"].as_str().unwrap_or_default() == t.value
                }
                field => (kind.field)(object, field) == t.value,
            };
            equal == t.equal
        })
    }
}

fn parse_term(term: &str) -> Option<FieldTerm> {
    let bytes = term.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        // Bytes, since the text before an operator may be of any characters; operators are of one byte each.
        let rest = &bytes[i..];
        let (length, equal) = match bytes[i] {
            b'\\' => {
                i += 2;
                continue;
            }
            b'!' if rest.starts_with(b"!=") => (2, false),
            b'=' if rest.starts_with(b"==") => (2, true),
            b'=' => (1, true),
            _ => {
                i += 1;
                continue;
            }
        };
        let value = unescape(&term[i + length..])?;
        return Some(FieldTerm { field: term[..i].trim().to_owned(), equal, value });
    }
    None
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            '=' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

fn split_escaped(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

/// Labels of an object.
pub fn labels_of(object: &Value) -> Option<&Map<String, Value>> {
    object["metadata"]["labels"].as_object()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::POD;
    use serde_json::json;

    #[test]
    fn field_selectors_parse_and_match() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        let yes =
            ["spec.nodeName=n1", "spec.nodeName==n1,status.phase!=Failed", "metadata.name=a", ""];
        let no = ["spec.nodeName=", "status.phase!=Running", "metadata.name=b"];
        for s in yes {
            assert!(FieldSelector::parse(s, &POD).unwrap().matches(&POD, &pod), "{s}");
        }
        for s in no {
            assert!(!FieldSelector::parse(s, &POD).unwrap().matches(&POD, &pod), "{s}");
        }
        let error = FieldSelector::parse("spec.x=1", &POD).unwrap_err();
        assert_eq!(error.message, "field label not supported: spec.x");
        assert!(FieldSelector::parse("spec.nodeName", &POD).is_err());
        assert!(FieldSelector::parse(r"metadata.name=a\,b", &POD).is_ok());
    }
}
