//! What a kind is: a row of names, and the functions that give it meaning.

use serde_json::Value;

use super::ALL;
use crate::custom::{Custom, Defined};
use crate::patch::schema::Schema;
use crate::status::Cause;
use crate::time::Timestamp;
use crate::types::{PLAIN, types};

/// Everything the machinery needs to know about one kind.
#[derive(Debug)]
pub struct KindInfo {
    /// API group, empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// CamelCase kind.
    pub kind: &'static str,
    /// Lower-case plural, the resource name in URLs.
    pub plural: &'static str,
    /// Lower-case singular.
    pub singular: &'static str,
    /// What kubectl accepts besides.
    pub short_names: &'static [&'static str],
    /// For instance `all`.
    pub categories: &'static [&'static str],
    /// Lives in a namespace.
    pub namespaced: bool,
    /// Has `/status`; then main writes leave status alone and `metadata.generation` counts spec changes.
    pub status_subresource: bool,
    /// `metadata.generation` is kept.
    pub generation: bool,
    /// Has `/scale`.
    pub scale: Option<ScalePaths>,
    /// Verbs on the resource itself.
    pub verbs: &'static [&'static str],
    /// Everything under `name/`, `status` and `scale` included.
    pub subresources: &'static [SubresourceInfo],
    /// PUT on an absent name creates.
    pub create_on_update: bool,
    /// Table columns, in order; those of priority 1 show with `-o wide`.
    pub columns: &'static [Column],
    /// Table cells of one object, as many as columns.
    pub cells: fn(&Value, Timestamp) -> Vec<Value>,
    /// Paths beyond metadata.name and metadata.namespace that field selectors may name.
    pub fields: &'static [&'static str],
    /// Value of such a field, in text as upstream compares it.
    pub field: fn(&Value, &str) -> String,
    /// Fills in defaults.
    pub default: fn(&mut Value),
    /// Creation keeps the status it was sent (nodes register with one).
    pub status_on_create: bool,
    /// What of a new object tells who made it: object, user, groups.
    pub prepare_caller: fn(&mut Value, &str, &[String]),
    /// Last touches to a new object, after defaults.
    pub prepare_create: fn(&mut Value),
    /// What an update of the main resource takes over from the old object: new, old.
    pub prepare_update: fn(&mut Value, &Value),
    /// Name rule; problems in upstream's words.
    pub name_rule: fn(&str, bool) -> Vec<String>,
    /// Validation of a whole object.
    pub validate: fn(&Value, &mut Causes),
    /// What an update of the main resource may not change: new, old.
    pub validate_update: fn(&Value, &Value, &mut Causes),
    /// Validation of what `/status` was sent.
    pub validate_status: fn(&Value, &mut Causes),
    /// Another version of a kind: how it is read and written.
    pub view: Option<View>,
    /// Of kinds that a CustomResourceDefinition makes; it then stands for the functions above.
    pub custom: Option<&'static Custom>,
}

/// A version of a kind that is stored as another.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// The kind that is stored.
    pub of: &'static KindInfo,
    /// From the stored form.
    pub read: fn(&Value) -> Value,
    /// To the stored form.
    pub write: fn(&Value) -> Value,
    /// Fields of selectors, and what they are of the stored kind.
    pub fields: &'static [(&'static str, &'static str)],
}

/// Where `/scale` finds things.
#[derive(Debug, Clone, Copy)]
pub struct ScalePaths {
    /// For instance `/spec/replicas` (JSON pointer).
    pub spec_replicas: &'static str,
    /// For instance `/status/replicas`.
    pub status_replicas: &'static str,
    /// For instance `/spec/selector`.
    pub selector: &'static str,
}

/// A path under an object's name.
#[derive(Debug, Clone, Copy)]
pub struct SubresourceInfo {
    /// `status`, `scale`, `log`, ...
    pub name: &'static str,
    /// Kind of its body.
    pub kind: &'static str,
    /// Group and version of that kind where they differ from the parent's.
    pub group_version: Option<(&'static str, &'static str)>,
    /// Verbs offered.
    pub verbs: &'static [&'static str],
    /// What a write takes over from its body into the object: new, body.
    pub take: fn(&mut Value, &Value),
    /// What such a write may not do: new, old.
    pub validate: fn(&Value, &Value, &mut Causes),
}

/// One table column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string`, `integer`, `boolean`, `date`, `number`.
    pub kind: &'static str,
    /// `name` for the first column.
    pub format: &'static str,
    /// 0 always shown, 1 only wide.
    pub priority: u8,
}

/// Collected validation failures.
pub type Causes = Vec<Cause>;

/// The usual verbs.
pub const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Verbs of `/status` and `/scale`.
pub const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

impl KindInfo {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods` or `deployments.apps`, as error messages name it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&'static SubresourceInfo> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Its type: what fields it has, and how they merge.
    pub fn schema(&self) -> Schema {
        if let Some(custom) = self.custom {
            return custom.merging;
        }
        types().of_kind(&self.api_version(), self.kind).unwrap_or(&PLAIN)
    }

    /// The kind as which its objects are stored: itself, unless it is another version of it.
    pub fn stored(&'static self) -> &'static KindInfo {
        self.view.map_or(self, |view| view.of)
    }

    /// Key prefix in the store: `/registry/pods/`.
    pub fn key_prefix(&self) -> String {
        if self.group.is_empty() {
            format!("/registry/{}/", self.plural)
        } else {
            format!("/registry/{}/{}/", self.group, self.plural)
        }
    }
}

impl PartialEq for KindInfo {
    fn eq(&self, other: &Self) -> bool {
        self.group == other.group && self.version == other.version && self.plural == other.plural
    }
}
impl Eq for KindInfo {}

/// The set of kinds served: those that are compiled in, and those that definitions make.
#[derive(Debug, Clone, Default)]
pub struct Kinds {
    custom: Vec<&'static KindInfo>,
    terminating: Vec<&'static KindInfo>,
}

static BUILTIN: Kinds = Kinds { custom: Vec::new(), terminating: Vec::new() };

impl Kinds {
    /// The compiled-in kinds.
    pub fn builtin() -> &'static Kinds {
        &BUILTIN
    }

    /// With what these definitions make, in the order given. A name that a kind already has is left to it.
    pub fn with_definitions<'d>(definitions: impl Iterator<Item = &'d Defined>) -> Self {
        let mut kinds = Self::default();
        for Defined { rows, terminating } in definitions {
            let taken = |k: &&KindInfo| {
                ALL.iter().chain(&kinds.custom).any(|o| o.group == k.group && o.plural == k.plural)
            };
            if rows.iter().any(taken) {
                continue;
            }
            if *terminating {
                kinds.terminating.extend(rows);
            }
            kinds.custom.extend(rows);
        }
        kinds
    }

    /// All that are stored.
    pub fn iter(&self) -> impl Iterator<Item = &'static KindInfo> {
        ALL.iter().chain(&self.custom).copied().filter(|k| k.view.is_none())
    }

    /// All that are served, other versions of a kind too, in discovery order.
    pub fn served(&self) -> impl Iterator<Item = &'static KindInfo> {
        let custom = self.custom.iter().filter(|k| k.custom.is_none_or(|c| c.served));
        ALL.iter().chain(custom).copied()
    }

    /// Those that definitions make, the stored version of each.
    pub fn defined(&self) -> impl Iterator<Item = &'static KindInfo> {
        self.custom.iter().copied().filter(|k| k.view.is_none())
    }

    /// Whether new objects of a kind are refused, since its definition is being deleted.
    pub fn is_terminating(&self, kind: &KindInfo) -> bool {
        self.terminating.contains(&kind)
    }

    /// By URL parts.
    pub fn by_resource(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<&'static KindInfo> {
        self.served().find(|k| k.plural == plural && k.group == group && k.version == version)
    }

    /// By group, version and kind.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&'static KindInfo> {
        self.served().find(|k| k.kind == kind && k.group == group && k.version == version)
    }
}
