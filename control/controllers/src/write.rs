//! What plans consist of: single writes, printable and comparable.
//!
//! In: what a planner decided. Out: what the executor does. Pure.

use std::fmt;

use beeline_api::KindInfo;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One write to one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Make an object.
    Create {
        /// Its kind.
        kind: &'static KindInfo,
        /// Its namespace, empty for cluster objects.
        namespace: String,
        /// Its name.
        name: String,
        /// The whole of it.
        object: Box<Value>,
    },
    /// Change some fields of an object.
    Patch {
        /// Its kind.
        kind: &'static KindInfo,
        /// Which one.
        object: ObjectId,
        /// Main resource or a subresource.
        part: Part,
        /// A JSON merge patch.
        patch: Box<Value>,
    },
    /// Ask for the end of an object.
    Delete {
        /// Its kind.
        kind: &'static KindInfo,
        /// Which one: a later one of the same name is safe.
        object: ObjectId,
        /// How.
        how: Removal,
    },
}

/// Which object; the uid keeps an old plan from touching a namesake.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Empty for cluster objects.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its unique id.
    pub uid: String,
}

/// Where a patch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The object itself.
    Main,
    /// `/status`.
    Status,
    /// `/approval` of a CertificateSigningRequest.
    Approval,
    /// `/finalize` of a Namespace.
    Finalize,
}

/// How an object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// With the kind's own grace.
    Graceful,
    /// At once: whoever would end it gracefully is gone.
    Now,
    /// Its dependents first.
    Foreground,
}

impl ObjectId {
    /// The identity in this metadata.
    pub fn of(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }
}

impl Write {
    /// Make this object.
    pub fn create<T: Serialize>(kind: &'static KindInfo, object: &T) -> Self {
        let object = value(object);
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        Self::Create {
            kind,
            namespace: text("namespace"),
            name: text("name"),
            object: Box::new(object),
        }
    }

    /// Turn `old` into `new`, if they differ.
    pub fn change<T: Serialize>(
        kind: &'static KindInfo,
        object: ObjectId,
        part: Part,
        old: &T,
        new: &T,
    ) -> Option<Self> {
        let patch = merge_patch(&value(old), &value(new))?;
        Some(Self::Patch { kind, object, part, patch: Box::new(patch) })
    }

    /// Turn the status `old` into `new`, if they differ.
    pub fn status<T: Serialize>(
        kind: &'static KindInfo,
        object: ObjectId,
        old: &T,
        new: &T,
    ) -> Option<Self> {
        let patch =
            merge_patch(&json!({ "status": value(old) }), &json!({ "status": value(new) }))?;
        Some(Self::Patch { kind, object, part: Part::Status, patch: Box::new(patch) })
    }

    /// Delete an object.
    pub fn delete(kind: &'static KindInfo, object: ObjectId, how: Removal) -> Self {
        Self::Delete { kind, object, how }
    }
}

/// The JSON of an object.
pub fn value<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

/// The JSON merge patch from `old` to `new`, `None` if they are equal.
pub fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return Some(new.clone());
    };
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let mut patch: Map<String, Value> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, wanted) in after {
        let change = match before.get(key) {
            Some(there) => merge_patch(there, wanted),
            None => Some(wanted.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}", self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { kind, namespace, name, object: _ } => {
                let id = ObjectId {
                    namespace: namespace.clone(),
                    name: name.clone(),
                    uid: String::new(),
                };
                write!(f, "create {} {id}", kind.kind)
            }
            Self::Patch { kind, object, part: Part::Main, patch } => {
                write!(f, "patch {} {object} {patch}", kind.kind)
            }
            Self::Patch { kind, object, part: Part::Status, patch } => {
                write!(f, "patch {}/status {object} {patch}", kind.kind)
            }
            Self::Patch { kind, object, part: Part::Approval, patch } => {
                write!(f, "patch {}/approval {object} {patch}", kind.kind)
            }
            Self::Patch { kind, object, part: Part::Finalize, patch: _ } => {
                write!(f, "finalize {} {object}", kind.kind)
            }
            Self::Delete { kind, object, how } => {
                write!(f, "delete {} {object}", kind.kind)?;
                match how {
                    Removal::Graceful => Ok(()),
                    Removal::Now => f.write_str(" now"),
                    Removal::Foreground => f.write_str(" foreground"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_patches_hold_just_the_difference() {
        let old = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1]});
        let new = json!({"a": 1, "b": {"c": 2, "d": 4}, "f": 5});
        assert_eq!(merge_patch(&old, &new), Some(json!({"b": {"d": 4}, "e": null, "f": 5})));
        assert_eq!(merge_patch(&old, &old), None);
    }
}
