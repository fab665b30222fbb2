//! Who owns which fields: the entries of `metadata.managedFields`.
//!
//! In: an object's entries. Out: the same with ownership changed, in upstream's order.

use serde_json::{Value, json};

use super::fieldset::Fields;

/// Entries of updates that are kept apart; the oldest beyond become one.
const UPDATES_MAX: usize = 10;
/// Its name.
const ANCIENT: &str = "ancient-changes";

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// Server-side apply.
    Apply,
    /// Everything else.
    Update,
}

/// Who writes, and which part of an object as which version.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// Field manager.
    pub manager: &'a str,
    /// Version of the object as it is written.
    pub api_version: &'a str,
    /// `status`, or empty.
    pub subresource: &'a str,
    /// Now, as RFC 3339.
    pub time: &'a str,
}

/// One manager's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) operation: Operation,
    pub(super) time: String,
    pub(super) manager: String,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) fields: Fields,
}

/// All managers of an object.
#[derive(Debug, Clone, Default)]
pub(super) struct Managers(pub(super) Vec<Entry>);

// === impl Entry ===

impl Entry {
    pub(super) fn new(operation: Operation, by: Writer<'_>, fields: Fields) -> Self {
        Self {
            operation,
            time: by.time.to_owned(),
            manager: by.manager.to_owned(),
            api_version: by.api_version.to_owned(),
            subresource: by.subresource.to_owned(),
            fields,
        }
    }

    fn parse(value: &Value) -> Self {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let apply = value["operation"] == "Apply";
        Self {
            operation: if apply { Operation::Apply } else { Operation::Update },
            time: text("time"),
            manager: text("manager"),
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            fields: Fields::parse(&value["fieldsV1"]),
        }
    }

    fn to_value(&self) -> Value {
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut value = json!({
            "manager": self.manager, "operation": operation, "apiVersion": self.api_version,
            "time": self.time, "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_value(),
        });
        if !self.subresource.is_empty() {
            value["subresource"] = Value::from(self.subresource.as_str());
        }
        value
    }

    /// Applies first, then by time.
    fn order(&self) -> (Operation, &str, &str, &str, &str) {
        (self.operation, &self.time, &self.manager, &self.api_version, &self.subresource)
    }

    /// Who applies is the same in every version.
    fn is_of(&self, operation: Operation, by: Writer<'_>) -> bool {
        self.operation == operation
            && self.manager == by.manager
            && (operation == Operation::Apply || self.api_version == by.api_version)
            && self.subresource == by.subresource
    }
}

// === impl Managers ===

impl Managers {
    pub(super) fn of(object: &Value) -> Self {
        let entries = object["metadata"]["managedFields"].as_array();
        Self(entries.into_iter().flatten().map(Entry::parse).collect())
    }

    /// Writes them into an object; none are no field.
    pub(super) fn put(mut self, object: &mut Value) {
        self.0.retain(|entry| !entry.fields.is_empty());
        self.join_ancient();
        self.0.sort_by(|a, b| a.order().cmp(&b.order()));
        let entries: Vec<Value> = self.0.iter().map(Entry::to_value).collect();
        if entries.is_empty() {
            if let Some(meta) = object["metadata"].as_object_mut() {
                meta.remove("managedFields");
            }
        } else {
            object["metadata"]["managedFields"] = Value::Array(entries);
        }
    }

    /// Takes out a manager's own entry.
    pub(super) fn take(&mut self, operation: Operation, by: Writer<'_>) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.is_of(operation, by))?;
        Some(self.0.remove(at))
    }

    /// All of them lose these fields.
    pub(super) fn lose(&mut self, fields: &Fields) {
        self.0.iter_mut().for_each(|entry| entry.fields.subtract(fields));
    }

    /// What any of them owns.
    pub(super) fn owned(&self) -> Fields {
        let mut all = Fields::default();
        self.0.iter().for_each(|entry| all.unite(&entry.fields));
        all
    }

    fn join_ancient(&mut self) {
        let is_update = |entry: &Entry| entry.operation == Operation::Update;
        let updates = self.0.iter().filter(|entry| is_update(entry)).count();
        if updates <= UPDATES_MAX {
            return;
        }
        // Only entries of one version can be one.
        self.0.sort_by(|a, b| a.time.cmp(&b.time));
        let mut left = updates;
        let mut kept: Vec<Entry> = Vec::new();
        for entry in std::mem::take(&mut self.0) {
            if !is_update(&entry) || left <= UPDATES_MAX {
                kept.push(entry);
                continue;
            }
            let same =
                |old: &&mut Entry| old.manager == ANCIENT && old.api_version == entry.api_version;
            match kept.iter_mut().find(same) {
                Some(ancient) => {
                    ancient.fields.unite(&entry.fields);
                    ancient.time.clone_from(&entry.time);
                    left -= 1;
                }
                None => kept.push(Entry {
                    manager: ANCIENT.to_owned(),
                    subresource: String::new(),
                    ..entry
                }),
            }
        }
        self.0 = kept;
    }
}

/// Takes out what nobody owns, and what is not this part's to own.
pub(super) fn strip(fields: &mut Fields, subresource: &str, has_status: bool) {
    for step in ["f:apiVersion", "f:kind"] {
        fields.below.remove(step);
    }
    match subresource {
        "status" => fields.below.retain(|step, _| step == "f:status"),
        _ if has_status => drop(fields.below.remove("f:status")),
        _ => {}
    }
    let Some(meta) = fields.below.get_mut("f:metadata") else { return };
    meta.member = false;
    for step in [
        "f:name",
        "f:namespace",
        "f:uid",
        "f:resourceVersion",
        "f:creationTimestamp",
        "f:generation",
        "f:managedFields",
        "f:selfLink",
    ] {
        meta.below.remove(step);
    }
    if meta.is_empty() {
        fields.below.remove("f:metadata");
    }
}
