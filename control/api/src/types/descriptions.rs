//! A sentence for types and fields, in our own words: what `kubectl explain` says.

use std::collections::HashMap;
use std::sync::OnceLock;

static TEXT: &str = include_str!("descriptions.txt");

/// What a field of a type is; an empty field means the type itself. Empty where nobody has written it down.
pub fn describe(type_name: &str, field: &str) -> &'static str {
    let known = known();
    let short = type_name.rsplit('.').next().unwrap_or(type_name);
    if field.is_empty() {
        return known.get(short).copied().unwrap_or_default();
    }
    let own = known.get(format!("{short}.{field}").as_str());
    own.or_else(|| known.get(format!(".{field}").as_str())).copied().unwrap_or_default()
}

fn known() -> &'static HashMap<&'static str, &'static str> {
    static KNOWN: OnceLock<HashMap<&str, &str>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        TEXT.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(' ')).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;
    use crate::types::types;

    #[test]
    fn every_description_is_of_something_and_every_kind_has_one() {
        for name in known().keys() {
            let of = |t: &'static crate::types::Type| match name.split_once('.') {
                None => t.short() == *name,
                Some((kind, field)) => {
                    (kind.is_empty() || t.short() == kind) && t.field(field).is_some()
                }
            };
            let ends = [".items"].contains(name);
            assert!(ends || types().iter().any(of), "{name} describes nothing");
        }
        for kind in Kinds::builtin().served() {
            assert!(!describe(kind.kind, "").is_empty(), "{}", kind.kind);
        }
    }
}
