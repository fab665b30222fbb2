//! Every type of the API as data: fields with their JSON names, types, protobuf numbers and merge rules.
//!
//! In: `generated/types.txt`, parsed once, on first use. Out: lookups. One table serves strict decoding, both patches,
//! the protobuf transcoder and OpenAPI, so that they cannot disagree.

use std::collections::HashMap;
use std::sync::OnceLock;

mod descriptions;
mod parse;

pub use descriptions::describe;

static TEXT: &str = include_str!("generated/types.txt");

/// All types.
#[derive(Debug)]
pub struct Types {
    all: Vec<Type>,
    by_name: HashMap<&'static str, usize>,
}

/// One type.
#[derive(Debug)]
pub struct Type {
    /// `core.v1.Pod`.
    pub name: &'static str,
    /// Server-side apply owns its values as a whole.
    pub atomic: bool,
    /// Has `apiVersion` and `kind`, which the table does not list.
    pub object: bool,
    /// By protobuf number, ascending.
    pub own: Vec<Field>,
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Protobuf number.
    pub number: u32,
    /// Its name in JSON.
    pub name: &'static str,
    /// One, many or by key.
    pub shape: Shape,
    /// What it holds.
    pub of: Of,
    /// Its fields belong to the parent in JSON.
    pub inline: bool,
    /// A pointer in Go: zero is a value, not absence.
    pub zero_matters: bool,
    /// Has to be there.
    pub required: bool,
    /// Key by which strategic merge patches merge the list.
    pub patch_key: Option<&'static str>,
    /// Keys by which server-side apply merges the list.
    pub apply_keys: Vec<&'static str>,
    /// A list of scalars without duplicates, to server-side apply.
    pub set: bool,
    /// Server-side apply owns the map as a whole.
    pub atomic: bool,
    /// Strategic patches merge the list of scalars.
    pub merges: bool,
    /// Strategic patches may name the keys to retain.
    pub retains: bool,
    /// Strategic patches replace it as a whole.
    pub replaces: bool,
    /// Value where absent, for those that are part of a list's keys.
    pub default: Option<&'static str>,
    /// A type outside the table: of kinds that are defined while the server runs.
    pub own_type: Option<&'static Type>,
}

/// How many values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One.
    Single,
    /// A list.
    List,
    /// A map from text.
    Map,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Text.
    String,
    /// `true` or `false`.
    Bool,
    /// 32 bits, signed.
    Int32,
    /// 64 bits, signed.
    Int64,
    /// Floating point.
    Double,
    /// Base64 in JSON.
    Bytes,
    /// `100m`.
    Quantity,
    /// A number or text.
    IntOrString,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, six digits.
    MicroTime,
    /// Text, nanoseconds in protobuf.
    Duration,
    /// A set of fields.
    FieldsV1,
    /// Any object.
    RawExtension,
    /// A list of text that protobuf wraps.
    Items,
    /// Any JSON.
    Json,
    /// A JSON schema, or a list of them.
    SchemaOrArray,
    /// A JSON schema, or a yes or no.
    SchemaOrBool,
    /// A JSON schema, or a list of text.
    SchemaOrStrings,
    /// Another type of the table.
    Type(usize),
}

/// A type without fields.
pub static PLAIN: Type = Type { name: "", atomic: false, object: false, own: Vec::new() };

/// The table.
pub fn types() -> &'static Types {
    static TYPES: OnceLock<Types> = OnceLock::new();
    TYPES.get_or_init(|| parse::parse(TEXT))
}

// === impl Types ===

impl Types {
    /// The table itself, to tell one version of it from another.
    pub fn text(&self) -> &'static str {
        TEXT
    }

    /// By name: `core.v1.Pod`.
    pub fn by_name(&self, name: &str) -> Option<&Type> {
        self.by_name.get(name).and_then(|index| self.all.get(*index))
    }

    /// The type of an API kind. Options and Status are of every group.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Type> {
        let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
        let group = group.split('.').next().unwrap_or(group);
        self.by_name(&format!("{group}.{version}.{kind}")).or_else(|| match kind {
            "DeleteOptions" | "Status" => self.by_name(&format!("meta.v1.{kind}")),
            _ => None,
        })
    }

    /// All of them, in the table's order.
    pub fn iter(&self) -> impl Iterator<Item = &Type> {
        self.all.iter()
    }

    /// The type that a field refers to.
    pub fn get(&self, index: usize) -> Option<&Type> {
        self.all.get(index)
    }
}

// === impl Type ===

impl Type {
    /// `Pod`.
    pub fn short(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// `v1.Pod`, as Go's messages name it.
    pub fn versioned(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, rest)| rest)
    }

    /// By protobuf number, the embedded ones as they travel.
    pub fn numbered(&self, number: u32) -> Option<&Field> {
        self.own.binary_search_by_key(&number, |f| f.number).ok().map(|at| &self.own[at])
    }

    /// By its name in JSON, in embedded types too.
    pub fn field(&'static self, name: &str) -> Option<&'static Field> {
        let found = self.own.iter().find(|f| f.name == name && !f.inline);
        found.or_else(|| {
            let inner = self.own.iter().filter(|f| f.inline).filter_map(Field::target);
            inner.into_iter().find_map(|t| t.field(name))
        })
    }

    /// All fields as JSON has them.
    pub fn fields(&'static self) -> Vec<&'static Field> {
        let mut all = Vec::with_capacity(self.own.len());
        for field in &self.own {
            match field.target() {
                Some(inner) if field.inline => all.extend(inner.fields()),
                _ => all.push(field),
            }
        }
        all
    }
}

// === impl Field ===

impl Field {
    /// The type it refers to, if it does.
    pub fn target(&self) -> Option<&'static Type> {
        match self.of {
            Of::Type(index) => types().get(index),
            _ => self.own_type,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_parses() {
        let lines = TEXT.lines().filter(|l| l.starts_with(' ')).count();
        let fields: usize = types().iter().map(|t| t.own.len()).sum();
        assert_eq!(fields, lines);
        for kind in types().iter() {
            assert!(kind.own.is_sorted_by_key(|f| f.number), "{}", kind.name);
        }
    }

    #[test]
    fn kinds_are_found_by_api_version() {
        for (version, kind) in [
            ("v1", "Pod"),
            ("apps/v1", "Deployment"),
            ("discovery.k8s.io/v1", "EndpointSlice"),
            ("apps/v1", "DeleteOptions"),
            ("authorization.k8s.io/v1", "SelfSubjectAccessReview"),
            ("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"),
        ] {
            assert!(types().of_kind(version, kind).is_some(), "{version} {kind}");
        }
        assert!(types().of_kind("example.com/v1", "Pod").is_none());
    }

    #[test]
    fn embedded_fields_are_the_parents() {
        let volume = types().by_name("core.v1.Volume").expect("in the table");
        assert!(volume.field("emptyDir").is_some() && volume.field("volumeSource").is_none());
        assert!(volume.fields().iter().any(|f| f.name == "hostPath"));
    }
}
