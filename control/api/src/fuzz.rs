//! What must hold for any input: the bodies of the fuzz targets, which the tests run over the corpora.
//!
//! Each takes a fuzzer's bytes and panics when something does not hold. That none panics, recurses without end or takes for ever
//! on anything is part of it.

// A broken promise is reported by a panic: that is what these functions are for.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "checks for tests and fuzzers")]

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::decode::{self, Parsed};
use crate::kinds::{Causes, KindInfo, Kinds, POD};
use crate::patch::{self, Writer};
use crate::selectors::{FieldSelector, LabelSelector};
use crate::table::{self, Include};
use crate::{cron, quantity, time, validate};

/// Takes a fuzzer's bytes, panics when something does not hold.
pub type Target = fn(&[u8]);

/// Every target by name: its corpus lies under that name.
pub const TARGETS: &[(&str, Target)] = &[
    ("json", json),
    ("yaml", yaml),
    ("selectors", selectors),
    ("patches", patches),
    ("cel", cel),
    ("words", words),
];

/// Runs every file of the corpora through its target.
#[expect(clippy::print_stdout, reason = "a failed test shows which file it was")]
pub fn replay(targets: &[(&str, Target)]) {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in targets {
        let dir = corpora.join(name);
        let mut count = 0;
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count >= 10, "{}: {count} files", dir.display());
    }
}

/// A JSON body goes the way of a new object: decoded, defaulted, validated, shown.
pub fn json(data: &[u8]) {
    let Ok(Parsed { value, .. }) = decode::json(data) else { return };
    let again =
        decode::json(&serde_json::to_vec(&value).unwrap()).expect("what was written is read");
    assert_eq!(again.value, value);
    object(value);
}

/// A YAML body: the same.
pub fn yaml(data: &[u8]) {
    if let Ok(Parsed { value, .. }) = decode::yaml(data) {
        object(value);
    }
}

fn kind_of(value: &Value) -> &'static KindInfo {
    let named =
        |kind: &&KindInfo| value["kind"] == kind.kind && value["apiVersion"] == *kind.api_version();
    Kinds::builtin().served().find(named).unwrap_or(&POD)
}

fn object(mut value: Value) {
    let kind = kind_of(&value);
    if decode::type_meta(kind, &mut value).is_err()
        || decode::fields(kind, &mut value, &[]).is_err()
    {
        return;
    }
    let old = value.clone();
    kind.fill(&mut value);
    let mut once = value.clone();
    kind.fill(&mut once);
    assert_eq!(once, value, "defaults are filled in once");
    let mut causes = Causes::new();
    validate::metadata(kind, &value, &mut causes);
    kind.check(&value, &mut causes);
    kind.check_update(&value, &old, &mut causes);
    kind.check_status(&value, &old, &mut causes);
    let now = time::parse("2026-01-01T00:00:00Z").unwrap();
    table::table(kind, [&value], &Value::Null, Include::Metadata, true, now);
}

/// Selectors of labels and fields, as a query has them.
pub fn selectors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(selector) = LabelSelector::parse(text) {
        let shown = selector.to_text();
        let again = LabelSelector::parse(&shown).expect("what is shown is read");
        assert_eq!(again.to_text(), shown);
        for labels in [r#"{"a":"b"}"#, r#"{"app":"web","n":"3"}"#, "{}"] {
            let labels: Value = serde_json::from_str(labels).unwrap();
            let both = (selector.matches(labels.as_object()), again.matches(labels.as_object()));
            assert_eq!(both.0, both.1, "{shown}");
        }
    }
    if let Ok(selector) = FieldSelector::parse(text, &POD) {
        selector.matches(&POD, &Value::Null);
    }
}

/// Three lines: which patch, an object, a patch. Merging and applying twice is merging and applying once.
pub fn patches(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let (Some(which), Some(object), Some(change)) = (lines.next(), lines.next(), lines.next())
    else {
        return;
    };
    let (Ok(object), Ok(change)) = (decode::json(object), decode::json(change)) else { return };
    let (object, change) = (object.value, change.value);
    if !object.is_object() {
        return;
    }
    let schema = kind_of(&object).schema();
    match which.first() {
        Some(b'j') => drop(patch::json(object, &change)),
        Some(b's') => drop(patch::strategic(object, &change, schema)),
        Some(b'm') => {
            let Ok(once) = patch::merge(object, &change) else { return };
            assert_eq!(patch::merge(once.clone(), &change).unwrap(), once);
        }
        _ => apply(&object, &change, schema),
    }
}

fn apply(object: &Value, config: &Value, schema: patch::schema::Schema) {
    // What is applied is an object of the kind: the registry sees to that before.
    let mut config = config.clone();
    if decode::type_meta(kind_of(object), &mut config).is_err()
        || decode::fields(kind_of(object), &mut config, &[]).is_err()
    {
        return;
    }
    let by = Writer {
        manager: "fuzz",
        api_version: "v1",
        subresource: "",
        time: "2026-01-01T00:00:00Z",
    };
    let Ok(once) = patch::apply(object, &config, schema, true, by, true) else { return };
    let twice =
        patch::apply(&once, &config, schema, true, by, false).expect("no conflict with itself");
    assert_eq!(twice, once);
    let mut updated = once.clone();
    patch::track(&once, &mut updated, schema, true, by);
    assert_eq!(updated, once, "who changes nothing owns nothing more");
}

/// Two lines: an expression, and the value that it is about.
pub fn cel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (expression, value) = text.split_once('\n').unwrap_or((text, "{}"));
    let value = serde_json::from_str(value).unwrap_or(Value::Null);
    crate::custom::evaluate(expression, &value);
}

/// Words with a grammar of their own: quantities, schedules, times.
pub fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(quantity) = quantity::Quantity::parse(text) {
        let canonical = quantity.canonical();
        let again = quantity::Quantity::parse(&canonical).expect("what is shown is read");
        assert_eq!(again.canonical(), canonical, "{text}");
        quantity.milli();
    }
    cron::problem(text);
    if let Some(at) = time::parse(text) {
        assert_eq!(time::parse(&time::format(at)).map(time::format), Some(time::format(at)));
    }
    let now = time::parse("2026-01-01T00:00:00Z").unwrap();
    time::age(Some(text), now);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_corpus_file_passes_its_target() {
        super::replay(super::TARGETS);
    }
}
