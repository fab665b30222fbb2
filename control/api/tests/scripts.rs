//! Behaviour as text: objects in, what changes or is refused out. `UPDATE_EXPECT=1` rewrites the expectations.
//!
//! A script is a list of cases: `> verb Kind`, YAML documents separated by `+++`, `---`, and the expected text.
//! A kind may name its version: `Event.events.k8s.io/v1`.
//! Verbs: `default`, `create` (defaults, then validation), `update` (old, new), `take` (old, new: what the new one
//! becomes), `status` (validation of `/status`), `patch` (object, strategic patch), `row` (cells of a table, an hour after 2025-01-01).

#![expect(clippy::unwrap_used, reason = "a script that does not parse fails its test")]

use std::fmt::Write as _;
use std::path::Path;

use beeline_api::kinds::{Causes, Column, KindInfo, Kinds};
use beeline_api::{decode, patch, time, validate};
use serde_json::{Value, json};

#[test]
fn scripts() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let actual = run(&text);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&file, actual).unwrap();
        } else {
            assert_eq!(
                text,
                actual,
                "{}: run with UPDATE_EXPECT=1 if this is meant",
                file.display()
            );
        }
    }
}

fn run(text: &str) -> String {
    let mut out = String::new();
    let (head, cases) = text.split_once("\n> ").expect("a script has cases");
    out.push_str(head);
    for case in cases.split("\n> ") {
        let (title, rest) = case.split_once('\n').unwrap();
        let input = rest.split("\n---\n").next().unwrap().trim_end_matches("\n---");
        let documents: Vec<Value> =
            input.split("\n+++\n").map(|d| decode::yaml(d.as_bytes()).unwrap().value).collect();
        let (verb, kind) = title.split_once(' ').unwrap();
        let (kind, group) = kind.split_once('.').unwrap_or((kind, ""));
        let fits = |k: &&KindInfo| k.kind == kind && (group.is_empty() || k.api_version() == group);
        let kind = Kinds::builtin().served().find(fits).unwrap();
        let result = answer(verb, kind, &documents);
        write!(out, "\n> {title}\n{input}\n---\n{result}").unwrap();
    }
    out
}

fn answer(verb: &str, kind: &KindInfo, documents: &[Value]) -> String {
    match (verb, documents) {
        ("default", [object]) => changes(object, &full(kind, object)),
        ("create", [object]) => {
            let mut object = full(kind, object);
            (kind.prepare_create)(&mut object);
            let mut causes = Causes::new();
            validate::metadata(kind, &object, &mut causes);
            (kind.validate)(&object, &mut causes);
            if let Some(view) = kind.view {
                (view.of.validate)(&full(view.of, &(view.write)(&object)), &mut causes);
            }
            shown(&causes)
        }
        ("update", [old, new]) => {
            let (old, new) = updated(kind, old, new);
            let mut causes = Causes::new();
            (kind.validate_update)(&new, &old, &mut causes);
            shown(&causes)
        }
        ("take", [old, new]) => changes(&full(kind, new), &updated(kind, old, new).1),
        ("status", [object]) => {
            let mut causes = Causes::new();
            (kind.validate_status)(&full(kind, object), &mut causes);
            shown(&causes)
        }
        ("row", [object]) => row(kind, object),
        ("patch", [object, by]) => match patch::strategic(object.clone(), by, kind.schema()) {
            Ok(new) => changes(object, &new),
            Err(e) => format!("{e}\n"),
        },
        _ => panic!("no verb {verb} with {} documents", documents.len()),
    }
}

/// The stored object's cells with their headings; `~` where only wide tables have them.
fn row(kind: &KindInfo, object: &Value) -> String {
    let now = time::parse("2025-01-01T01:00:00Z").unwrap();
    let mut object = full(kind, object);
    (kind.prepare_create)(&mut object);
    let cells = (kind.cells)(&object, now);
    assert_eq!(cells.len(), kind.columns.len(), "{}", kind.kind);
    let cell = |(column, value): (&Column, &Value)| {
        let wide = if column.priority > 0 { "~" } else { "" };
        format!("{wide}{}={}", column.name, value.as_str().map_or(value.to_string(), str::to_owned))
    };
    format!("{}\n", kind.columns.iter().zip(&cells).map(cell).collect::<Vec<_>>().join(" | "))
}

/// The old object as it is stored, and the new one as an update would store it.
fn updated(kind: &KindInfo, old: &Value, new: &Value) -> (Value, Value) {
    let (mut old, mut new) = (full(kind, old), full(kind, new));
    (kind.prepare_create)(&mut old);
    (kind.prepare_update)(&mut new, &old);
    (old, new)
}

fn full(kind: &KindInfo, object: &Value) -> Value {
    let mut object = object.clone();
    decode::type_meta(kind, &mut object).unwrap();
    (kind.default)(&mut object);
    if kind.namespaced {
        object["metadata"]["namespace"] = json!("default");
    }
    object
}

fn shown(causes: &Causes) -> String {
    if causes.is_empty() {
        return "valid\n".to_owned();
    }
    causes.iter().map(|c| format!("{}: {}\n", c.field, c.message)).collect()
}

fn changes(old: &Value, new: &Value) -> String {
    let mut lines = Vec::new();
    compare("", old, new, &mut lines);
    lines.retain(|l| {
        !["+ apiVersion", "+ kind", "+ metadata.namespace"].iter().any(|p| l.starts_with(p))
    });
    lines.sort_by(|a, b| a[2..].cmp(&b[2..]));
    lines.iter().map(|l| format!("{l}\n")).collect()
}

fn compare(path: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in b {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match a.get(key) {
                    Some(old) => compare(&path, old, value, lines),
                    None => lines.push(format!("+ {path} = {value}")),
                }
            }
            let gone = a.keys().filter(|k| !b.contains_key(*k));
            lines.extend(
                gone.map(
                    |k| if path.is_empty() { format!("- {k}") } else { format!("- {path}.{k}") },
                ),
            );
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{i}]"), a, b, lines);
            }
        }
        (a, b) if a != b => lines.push(format!("~ {path} = {b}")),
        _ => {}
    }
}

/// Whoever adds a kind says how it looks, and what of it is refused.
#[test]
fn every_kind_has_a_script() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let texts: String = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap())
        .collect();
    for kind in Kinds::builtin().served() {
        for verb in ["create", "row"] {
            let (plain, full) = (
                format!("> {verb} {}\n", kind.kind),
                format!("> {verb} {}.{}\n", kind.kind, kind.api_version()),
            );
            let by_name = kind.view.is_none() && texts.contains(&plain);
            assert!(
                by_name || texts.contains(&full),
                "{verb} {} {}",
                kind.api_version(),
                kind.kind
            );
        }
    }
}
