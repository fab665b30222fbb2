//! The part of kubectl's JSONPath that definitions use, for columns and fields: `.spec.list[?(@.type=="Ready")].status`.
//!
//! In: text, parsed once. Out: the first value that an object has there. Fields, quoted fields, indexes, `*` and filters
//! that compare one field; no `..`, ranges or unions.

use serde_json::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// Negative ones count from the end.
    Index(i64),
    All,
    Filter {
        left: Vec<String>,
        test: Test,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Exists,
    Equal(Value),
    Unequal(Value),
}

impl Path {
    /// Parses a path; None if it is not one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let step;
            (step, rest) = if let Some(inner) = rest.strip_prefix('[') {
                let (inside, rest) = bracket(inner)?;
                (in_bracket(inside)?, rest)
            } else {
                let (name, rest) = name(rest.strip_prefix('.')?)?;
                (if name == "*" { Step::All } else { Step::Field(name) }, rest)
            };
            steps.push(step);
        }
        (!steps.is_empty()).then_some(Self(steps))
    }

    /// The first value there.
    pub fn first<'v>(&self, object: &'v Value) -> Option<&'v Value> {
        first(&self.0, object)
    }

    /// `/spec/replicas`, if it is made of fields alone.
    pub fn pointer(&self) -> Option<String> {
        let fields = self.0.iter().map(|step| match step {
            Step::Field(name) => Some(format!("/{}", name.replace('~', "~0").replace('/', "~1"))),
            _ => None,
        });
        fields.collect()
    }
}

fn first<'v>(steps: &[Step], value: &'v Value) -> Option<&'v Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    match step {
        Step::Field(name) => first(rest, value.get(name)?),
        Step::Index(i) => {
            let items = value.as_array()?;
            let at = if *i < 0 {
                items.len().checked_sub(usize::try_from(-i).ok()?)?
            } else {
                usize::try_from(*i).ok()?
            };
            first(rest, items.get(at)?)
        }
        Step::All => each(value).find_map(|item| first(rest, item)),
        Step::Filter { left, test } => {
            each(value).filter(|item| test.holds(left, item)).find_map(|item| first(rest, item))
        }
    }
}

fn each(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

impl Test {
    fn holds(&self, left: &[String], item: &Value) -> bool {
        let found = left.iter().try_fold(item, |at, name| at.get(name));
        match self {
            Self::Exists => found.is_some(),
            Self::Equal(wanted) => found == Some(wanted),
            Self::Unequal(wanted) => found.is_some_and(|f| f != wanted),
        }
    }
}

/// Up to the closing bracket, quotes respected.
fn bracket(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth > 0 => depth -= 1,
            (None, ']') => return Some((&text[..i], &text[i + 1..])),
            (None, _) => {}
        }
    }
    None
}

fn in_bracket(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(name) = quoted(text) {
        return Some(Step::Field(name.replace("\\.", ".")));
    }
    if let Some(inside) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        return filter(inside.trim());
    }
    text.parse().ok().map(Step::Index)
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
}

fn filter(text: &str) -> Option<Step> {
    let (left, test) = if let Some((left, right)) = text.split_once("==") {
        (left, Test::Equal(literal(right.trim())?))
    } else if let Some((left, right)) = text.split_once("!=") {
        (left, Test::Unequal(literal(right.trim())?))
    } else {
        (text, Test::Exists)
    };
    let mut rest = left.trim().strip_prefix('@')?;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let field;
        (field, rest) = name(rest.strip_prefix('.')?)?;
        fields.push(field);
    }
    Some(Step::Filter { left: fields, test })
}

fn literal(text: &str) -> Option<Value> {
    match quoted(text) {
        Some(text) => Some(Value::from(text)),
        None => serde_json::from_str(text).ok(),
    }
}

/// A field's name, up to the next step; `\.` is a dot of the name.
fn name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            '.' | '[' => return (!name.is_empty()).then_some((name, &text[i..])),
            c => name.push(c),
        }
    }
    (!name.is_empty()).then_some((name, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_that_definitions_use() {
        let object = json!({
            "metadata": { "labels": { "app.kubernetes.io/name": "web" } },
            "spec": { "replicas": 3, "ports": [{ "name": "a", "port": 1 }, { "name": "b", "port": 2 }] },
            "status": { "conditions": [
                { "type": "Synced", "status": "False" }, { "type": "Ready", "status": "True", "n": 2 }] },
        });
        for (path, wanted) in [
            (".spec.replicas", json!(3)),
            ("{.spec.replicas}", json!(3)),
            (".metadata.labels.app\\.kubernetes\\.io/name", json!("web")),
            (".metadata.labels['app\\.kubernetes\\.io/name']", json!("web")),
            (".spec.ports[1].port", json!(2)),
            (".spec.ports[-1].name", json!("b")),
            (".spec.ports[*].name", json!("a")),
            (".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
            (".status.conditions[?(@.type=='Ready')].status", json!("True")),
            (".status.conditions[?(@.n==2)].type", json!("Ready")),
            (".status.conditions[?(@.type!=\"Ready\")].type", json!("Synced")),
            (".status.conditions[?(@.n)].type", json!("Ready")),
        ] {
            let parsed = Path::parse(path).unwrap_or_else(|| panic!("{path} does not parse"));
            assert_eq!(parsed.first(&object), Some(&wanted), "{path}");
        }
        for absent in
            [".spec.none", ".spec.ports[7]", ".status.conditions[?(@.type==\"No\")].status"]
        {
            assert_eq!(
                Path::parse(absent).and_then(|p| p.first(&object).cloned()),
                None,
                "{absent}"
            );
        }
        for wrong in ["", "spec", ".", ".a[", ".a[b]", ".a..b"] {
            assert_eq!(Path::parse(wrong), None, "{wrong}");
        }
        assert_eq!(
            Path::parse(".spec.replicas").and_then(|p| p.pointer()).as_deref(),
            Some("/spec/replicas")
        );
    }
}
