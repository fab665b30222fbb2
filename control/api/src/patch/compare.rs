//! What differs between two versions of an object, as sets of fields.
//!
//! A field that comes or goes takes all that is below it along, itself included; what is owned as a whole is one field.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fieldset::{self, Fields};
use super::schema::{Applying, Rule, Schema};

/// The differences.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) added: Fields,
    pub(super) modified: Fields,
    pub(super) removed: Fields,
}

impl Compared {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Fields that have another value than before, or one at last; and fields that have none any more.
    pub(super) fn written_and_removed(self) -> (Fields, Fields) {
        let mut written = self.added;
        written.unite(&self.modified);
        (written, self.removed)
    }
}

/// From `old` to `new`; an object that is not there is an empty one.
pub(super) fn compare(old: &Value, new: &Value, schema: Schema) -> Compared {
    let mut walk = Walk { out: Compared::default(), at: Vec::new() };
    walk.fields(old.as_object(), new.as_object(), schema);
    walk.out
}

struct Walk {
    out: Compared,
    at: Vec<String>,
}

impl Walk {
    fn fields(
        &mut self,
        old: Option<&Map<String, Value>>,
        new: Option<&Map<String, Value>>,
        schema: Schema,
    ) {
        for (field, before) in old.into_iter().flatten() {
            let after = new.and_then(|new| new.get(field));
            self.below(format!("f:{field}"), Some(before), after, schema.rule(field));
        }
        for (field, after) in new.into_iter().flatten() {
            if old.is_none_or(|old| !old.contains_key(field)) {
                self.below(format!("f:{field}"), None, Some(after), schema.rule(field));
            }
        }
    }

    fn below(&mut self, step: String, old: Option<&Value>, new: Option<&Value>, rule: Rule) {
        let (old, new) = (there(old), there(new));
        if old == new {
            return;
        }
        self.at.push(step);
        if self.descends(old, new, rule) {
            self.came_or_went(old, new);
        } else {
            self.leaf(old, new);
        }
        self.at.pop();
    }

    /// Goes into what has fields of its own. False: it is one field.
    fn descends(&mut self, old: Option<&Value>, new: Option<&Value>, rule: Rule) -> bool {
        if rule.apply == Applying::Atomic {
            return false;
        }
        let nothing = |v: Option<&Value>| {
            v.is_none_or(|v| match v {
                Value::Object(map) => map.is_empty(),
                Value::Array(items) => items.is_empty(),
                _ => false,
            })
        };
        if nothing(old) && nothing(new) {
            return false;
        }
        let all = |fits: fn(&Value) -> bool| old.is_none_or(fits) && new.is_none_or(fits);
        if all(Value::is_object) {
            self.fields(old.and_then(Value::as_object), new.and_then(Value::as_object), rule.item);
            return true;
        }
        if !all(Value::is_array) {
            return false;
        }
        match rule.apply {
            Applying::Keys(keys) => self.items(old, new, keys, rule.item),
            Applying::Set => self.scalars(old, new),
            Applying::Plain | Applying::Atomic => return false,
        }
        true
    }

    fn items(
        &mut self,
        old: Option<&Value>,
        new: Option<&Value>,
        keys: &'static [&'static str],
        schema: Schema,
    ) {
        let (old, new) = (by_key(old, keys, schema), by_key(new, keys, schema));
        let apply = if schema.atomic { Applying::Atomic } else { Applying::Plain };
        let rule = Rule { apply, item: schema, ..super::schema::NOTHING };
        for (key, before) in &old {
            self.below(key.clone(), Some(before), new.get(key).copied(), rule);
        }
        for (key, after) in new.into_iter().filter(|(key, _)| !old.contains_key(key)) {
            self.below(key, None, Some(after), rule);
        }
    }

    fn scalars(&mut self, old: Option<&Value>, new: Option<&Value>) {
        let (old, new) = (scalars_of(old), scalars_of(new));
        for gone in old.iter().filter(|value| !new.contains(value)) {
            self.one(format!("v:{gone}"), |out| &mut out.removed);
        }
        for come in new.iter().filter(|value| !old.contains(value)) {
            self.one(format!("v:{come}"), |out| &mut out.added);
        }
    }

    fn one(&mut self, step: String, set: impl FnOnce(&mut Compared) -> &mut Fields) {
        self.at.push(step);
        set(&mut self.out).insert(&self.at);
        self.at.pop();
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        if old.is_some() && new.is_some() {
            self.out.modified.insert(&self.at);
        }
        self.came_or_went(old, new);
    }

    fn came_or_went(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, Some(_)) => self.out.added.insert(&self.at),
            (Some(_), None) => self.out.removed.insert(&self.at),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

/// The items of a list by their keys.
fn by_key<'v>(
    list: Option<&'v Value>,
    keys: &[&str],
    schema: Schema,
) -> BTreeMap<String, &'v Value> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    let keyed = |item: &'v Value| Some((fieldset::key_of(item.as_object()?, keys, schema), item));
    items.filter_map(keyed).collect()
}

fn scalars_of(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A null is a field that is not there.
fn there(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}
