//! A schema as a type of the table in `types.rs`, which is what server-side apply merges by.
//!
//! In: a schema. Out: a type that lives as long as the process, as the kind does that it belongs to.

use super::schema::{List, Of as Kind, Schema};
use crate::types::{Field, Of, PLAIN, Shape, Type, types};

/// The type of a whole object.
pub(super) fn of_object(schema: &Schema) -> &'static Type {
    let mut own = fields(schema);
    own.retain(|field| field.name != "metadata");
    if let Some(meta) = types().by_name("meta.v1.ObjectMeta") {
        own.push(field("metadata", Shape::Single, Some(meta)));
    }
    leak(own, false, true)
}

fn leak(own: Vec<Field>, atomic: bool, object: bool) -> &'static Type {
    Box::leak(Box::new(Type { name: "", atomic, object, own }))
}

fn of(schema: &Schema) -> &'static Type {
    let own = fields(schema);
    if own.is_empty() && !schema.atomic { &PLAIN } else { leak(own, schema.atomic, false) }
}

fn fields(schema: &Schema) -> Vec<Field> {
    schema.properties.iter().map(|(name, schema)| one(name, schema)).collect()
}

fn field(name: &str, shape: Shape, own_type: Option<&'static Type>) -> Field {
    Field {
        number: 0,
        name: name.to_owned().leak(),
        shape,
        of: Of::Json,
        inline: false,
        zero_matters: true,
        required: false,
        patch_key: None,
        apply_keys: Vec::new(),
        set: false,
        atomic: false,
        merges: false,
        retains: false,
        replaces: false,
        default: None,
        own_type,
    }
}

fn one(name: &str, schema: &Schema) -> Field {
    let mut made = match (&schema.items, schema.of) {
        (Some(items), Some(Kind::Array)) => {
            let mut list = field(name, Shape::List, Some(of(items)));
            match schema.list {
                List::Map => {
                    list.apply_keys = schema.keys.iter().map(|key| &*key.clone().leak()).collect();
                }
                List::Set => list.set = true,
                List::Atomic => {}
            }
            list
        }
        _ => field(name, Shape::Single, Some(of(schema))),
    };
    made.atomic = schema.atomic;
    made.default = schema.default.as_ref().and_then(|d| d.as_str()).map(|d| &*d.to_owned().leak());
    made
}
