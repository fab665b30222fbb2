//! How a field merges, read from the table of types: merge keys, sets, atomic parts.
//!
//! One table serves strategic merge patch and server-side apply. What a table does not list is a granular map, or a list
//! replaced as a whole.

use crate::types::{Field, PLAIN, Shape, Type};

/// The type whose fields merge.
pub type Schema = &'static Type;

/// How one field merges.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// To strategic merge patches.
    pub patch: Patching,
    /// To server-side apply.
    pub apply: Applying,
    /// Rules of what it holds: of the object, or of each item.
    pub item: Schema,
}

/// How a strategic merge patch sees a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patching {
    /// Objects merge, lists are replaced.
    Plain,
    /// A list of objects, merged by this key.
    Key(&'static str),
    /// A list of scalars without duplicates.
    Set,
    /// Replaced as a whole.
    Replace,
}

/// How server-side apply sees a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applying {
    /// Objects merge, lists are owned as a whole.
    Plain,
    /// Owned as a whole.
    Atomic,
    /// A list of objects, each owned by its keys.
    Keys(&'static [&'static str]),
    /// A list of scalars, each owned by itself.
    Set,
}

/// Of what no table lists.
pub(super) const NOTHING: Rule =
    Rule { patch: Patching::Plain, apply: Applying::Plain, item: &PLAIN };

impl Type {
    /// Rule of a field.
    pub fn rule(&'static self, field: &str) -> Rule {
        self.field(field).map_or(NOTHING, rule)
    }
}

fn rule(field: &'static Field) -> Rule {
    let item = field.target().unwrap_or(&PLAIN);
    match field.shape {
        // Of maps to objects only the entries are known by name.
        Shape::Map => Rule { patch: patching(field), apply: applying(field, &PLAIN), item: &PLAIN },
        Shape::Single | Shape::List => {
            Rule { patch: patching(field), apply: applying(field, item), item }
        }
    }
}

fn patching(field: &'static Field) -> Patching {
    match field.patch_key {
        _ if field.replaces => Patching::Replace,
        Some(key) => Patching::Key(key),
        None if field.merges => Patching::Set,
        None => Patching::Plain,
    }
}

fn applying(field: &'static Field, item: Schema) -> Applying {
    if !field.apply_keys.is_empty() {
        Applying::Keys(&field.apply_keys)
    } else if field.set {
        Applying::Set
    } else if field.atomic || (field.shape == Shape::Single && item.atomic) {
        Applying::Atomic
    } else {
        Applying::Plain
    }
}
