//! The table's text: a line per type, then a line per field that begins with a space.

use std::collections::HashMap;

use super::{Field, Of, Shape, Type, Types};

/// Reads the whole table. The generator writes it and a test reads every line, so a bad line is a broken build.
pub(super) fn parse(text: &'static str) -> Types {
    let lines = || text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    let name = |line: &'static str| line.split(' ').next().unwrap_or(line);
    let by_name: HashMap<_, _> =
        lines().filter(|l| !l.starts_with(' ')).map(name).zip(0..).collect();
    let mut all: Vec<Type> = Vec::with_capacity(by_name.len());
    for line in lines() {
        match (line.strip_prefix(' '), all.last_mut()) {
            (Some(line), Some(parent)) => parent.own.extend(field(line, &by_name)),
            _ => all.push(Type {
                name: name(line),
                atomic: line.split(' ').any(|w| w == "atomic"),
                object: line.split(' ').any(|w| w == "object"),
                own: Vec::new(),
            }),
        }
    }
    Types { all, by_name }
}

fn field(line: &'static str, by_name: &HashMap<&'static str, usize>) -> Option<Field> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let name = words.next()?;
    let kind = words.next()?;
    let (shape, kind) = match (kind.strip_prefix("[]"), kind.strip_prefix("{}")) {
        (Some(inner), _) => (Shape::List, inner),
        (_, Some(inner)) => (Shape::Map, inner),
        _ => (Shape::Single, kind),
    };
    let marks: Vec<&'static str> = words.collect();
    let is = |mark: &str| marks.contains(&mark);
    let valued = |mark: &str| marks.iter().find_map(|m| m.strip_prefix(mark));
    Some(Field {
        number,
        name,
        shape,
        of: of(kind, by_name)?,
        inline: is("="),
        zero_matters: is("*"),
        required: is("!"),
        patch_key: valued("key:"),
        apply_keys: valued("map:").map(|k| k.split(',').collect()).unwrap_or_default(),
        set: is("set"),
        atomic: is("atomic"),
        merges: is("merge"),
        retains: is("retain"),
        replaces: is("replace"),
        default: valued("default:"),
        own_type: None,
    })
}

fn of(kind: &str, by_name: &HashMap<&'static str, usize>) -> Option<Of> {
    Some(match kind {
        "string" => Of::String,
        "bool" => Of::Bool,
        "int32" => Of::Int32,
        "int64" => Of::Int64,
        "double" => Of::Double,
        "bytes" => Of::Bytes,
        "resource.Quantity" => Of::Quantity,
        "intstr.IntOrString" => Of::IntOrString,
        "meta.v1.Time" => Of::Time,
        "meta.v1.MicroTime" => Of::MicroTime,
        "meta.v1.Duration" => Of::Duration,
        "meta.v1.FieldsV1" => Of::FieldsV1,
        "runtime.RawExtension" => Of::RawExtension,
        "authentication.v1.ExtraValue"
        | "authorization.v1.ExtraValue"
        | "certificates.v1.ExtraValue" => Of::Items,
        "apiextensions.v1.JSON" => Of::Json,
        "apiextensions.v1.JSONSchemaPropsOrArray" => Of::SchemaOrArray,
        "apiextensions.v1.JSONSchemaPropsOrBool" => Of::SchemaOrBool,
        "apiextensions.v1.JSONSchemaPropsOrStringArray" => Of::SchemaOrStrings,
        name => Of::Type(*by_name.get(name)?),
    })
}
