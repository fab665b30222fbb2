//! Label selectors in both spellings: `a=b,c in (d,e)` and `{matchLabels, matchExpressions}`.

use serde_json::{Map, Value};

use crate::status::ApiError;
use crate::validate;

/// All requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// One requirement on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// Comparison.
    pub operator: Operator,
    /// Values, where the operator takes them.
    pub values: Vec<String>,
}

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Value is one of.
    In,
    /// Absent, or value none of.
    NotIn,
    /// Key is there.
    Exists,
    /// Key is not there.
    DoesNotExist,
    /// Integer above.
    Gt,
    /// Integer below.
    Lt,
}

impl LabelSelector {
    /// Parses a query parameter.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut requirements = Vec::new();
        for part in split(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    break;
                }
                return Err(refuse(text, "found '', expected: identifier"));
            }
            let requirement = parse_requirement(part)
                .ok_or_else(|| refuse(text, &format!("cannot read '{part}'")))?;
            check(&requirement).map_err(|why| refuse(text, &why))?;
            requirements.push(requirement);
        }
        Ok(Self { requirements })
    }

    /// From a `LabelSelector` object. Null or absent selects nothing; `{}` everything.
    pub fn from_object(selector: &Value) -> Option<Self> {
        let selector = selector.as_object()?;
        let mut requirements: Vec<Requirement> =
            Self::from_map(selector.get("matchLabels")).requirements;
        for e in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let operator = match e["operator"].as_str()? {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => return None,
            };
            let values = e["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(str::to_owned));
            requirements.push(Requirement {
                key: e["key"].as_str()?.to_owned(),
                operator,
                values: values.collect(),
            });
        }
        Some(Self { requirements })
    }

    /// From a plain map, as `Service.spec.selector`.
    pub fn from_map(map: Option<&Value>) -> Self {
        let pairs = map.and_then(Value::as_object).into_iter().flatten();
        Self {
            requirements: pairs.map(|(k, v)| equals(k, v.as_str().unwrap_or_default())).collect(),
        }
    }

    /// `key=value`.
    pub fn equals(key: &str, value: &str) -> Self {
        Self { requirements: vec![equals(key, value)] }
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The requirements.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether an object with these labels matches.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches_with(|key| labels.and_then(|l| l.get(key)).and_then(Value::as_str))
    }

    /// The same over any lookup.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }

    /// As text, `a=b,c in (d,e)`, the form `Scale.status.selector` takes.
    pub fn to_text(&self) -> String {
        let one = |r: &Requirement| match r.operator {
            Operator::In if r.values.len() == 1 => format!("{}={}", r.key, r.values[0]),
            Operator::In => format!("{} in ({})", r.key, r.values.join(",")),
            Operator::NotIn => format!("{} notin ({})", r.key, r.values.join(",")),
            Operator::Exists => r.key.clone(),
            Operator::DoesNotExist => format!("!{}", r.key),
            Operator::Gt => format!("{}>{}", r.key, r.values.join(",")),
            Operator::Lt => format!("{}<{}", r.key, r.values.join(",")),
        };
        self.requirements.iter().map(one).collect::<Vec<_>>().join(",")
    }
}

impl Requirement {
    pub(crate) fn matches(&self, value: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|x| x == v);
        let against = |test: fn(i64, i64) -> bool| {
            let pair = value
                .and_then(|v| v.parse().ok())
                .zip(self.values.first().and_then(|v| v.parse().ok()));
            pair.is_some_and(|(a, b)| test(a, b))
        };
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => against(|a, b| a > b),
            Operator::Lt => against(|a, b| a < b),
        }
    }
}

fn equals(key: &str, value: &str) -> Requirement {
    Requirement { key: key.to_owned(), operator: Operator::In, values: vec![value.to_owned()] }
}

fn refuse(text: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!("unable to parse requirement: {why} (selector \"{text}\")"))
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_requirement(part: &str) -> Option<Requirement> {
    if let Some(key) = part.strip_prefix('!') {
        return Some(Requirement {
            key: key.trim().to_owned(),
            operator: Operator::DoesNotExist,
            values: vec![],
        });
    }
    if let Some((head, list)) = part.strip_suffix(')').and_then(|p| p.split_once('(')) {
        let mut words = head.split_whitespace();
        let (key, operator) = (words.next()?, words.next()?);
        let operator = match operator {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            _ => return None,
        };
        let values = list.split(',').map(|v| v.trim().to_owned()).collect();
        return words.next().is_none().then(|| Requirement {
            key: key.to_owned(),
            operator,
            values,
        });
    }
    let forms = [
        ("!=", Operator::NotIn),
        ("==", Operator::In),
        ("=", Operator::In),
        (">", Operator::Gt),
        ("<", Operator::Lt),
    ];
    for (sign, operator) in forms {
        if let Some((key, value)) = part.split_once(sign) {
            return Some(Requirement {
                key: key.trim().to_owned(),
                operator,
                values: vec![value.trim().to_owned()],
            });
        }
    }
    Some(Requirement { key: part.to_owned(), operator: Operator::Exists, values: vec![] })
}

fn check(r: &Requirement) -> Result<(), String> {
    if let Some(problem) = validate::label_key(&r.key).first() {
        return Err(format!("key: Invalid value: \"{}\": {problem}", r.key));
    }
    for v in &r.values {
        if let Some(problem) = validate::label_value(v).first() {
            return Err(format!("values[0][{}]: Invalid value: \"{v}\": {problem}", r.key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::LabelSelector;
    use serde_json::json;

    #[test]
    fn label_selectors_like_upstream() {
        let labels = json!({"a": "b", "app": "web"});
        let yes = [
            "",
            "a=b",
            "a==b",
            "a!=c",
            "x!=c",
            "a in (b,c)",
            "a notin (c)",
            "x notin (c)",
            "a",
            "!x",
            "a=b,app",
            "app in (web), a",
        ];
        let no = ["a=c", "a!=b", "a in (c)", "a notin (b)", "x", "!a", "a=b,x"];
        for s in yes {
            assert!(LabelSelector::parse(s).unwrap().matches(labels.as_object()), "{s}");
        }
        for s in no {
            assert!(!LabelSelector::parse(s).unwrap().matches(labels.as_object()), "{s}");
        }
        for s in ["a=b=c", "a in b", "a,,b", "-a", "a=b c", "!"] {
            assert!(LabelSelector::parse(s).is_err(), "{s}");
        }
        assert_eq!(
            LabelSelector::parse("a=b,c in (d,e),!f").unwrap().to_text(),
            "a=b,c in (d,e),!f"
        );
    }
}
