//! Expressions in CEL, on crate `cel`: rules of definitions, match conditions of webhooks, admission policies.
//!
//! In: text, the names of the variables it may use, and their values. Out: a compiled [`Expression`] and what it gives.
//! Compiling finds syntax errors, other names, and functions that are not here; types are known only when an expression
//! runs, and there are no cost limits. Of Kubernetes' own libraries the crate has optionals, strings, math and lists;
//! `library` adds what is simple of the others. What is missing (objects of type quantity, semver, URL, IP and CIDR,
//! named formats, the authorizer) is refused when compiled.

pub(crate) mod library;
mod names;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cel::objects::Key;
use cel::{Context, Env, Program, Value as Cel};
use serde_json::Value;

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    text: String,
    program: Program,
}

/// Variables, for any number of expressions.
pub struct Scope(Context<'static, 'static>);

/// What an expression gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome(Cel);

pub(crate) fn env() -> &'static Arc<Env> {
    static ENV: OnceLock<Arc<Env>> = OnceLock::new();
    ENV.get_or_init(|| {
        let mut env = Env::stdlib();
        for extend in [cel::extensions::strings, cel::extensions::math, cel::extensions::lists] {
            if let Err(why) = env.add_extension(extend) {
                // Two libraries with the same function: a fault of this program that any test of a rule shows.
                debug_assert!(false, "extend CEL: {why}");
            }
        }
        Arc::new(env)
    })
}

/// Compiles an expression about these variables; what is wrong with it otherwise.
pub(crate) fn compile(expression: &str, variables: &[&str]) -> Result<Program, String> {
    let program = env().compile(expression).map_err(|e| e.to_string())?;
    let references = program.references();
    let bound = names::bound(program.expression());
    let unknown = references
        .variables()
        .into_iter()
        .find(|name| !variables.contains(name) && !library::is_type(name) && !bound.contains(name));
    let functions = references.functions();
    if let Some(name) = functions.into_iter().find(|name| library::is_missing(name)) {
        return Err(format!("function '{name}' is of a CEL library that is not served here"));
    }
    match unknown {
        Some("authorizer") => {
            Err("variable 'authorizer' is of a CEL library that is not served here".to_owned())
        }
        Some(name) => Err(format!("undeclared reference to '{name}' (in container '')")),
        None => Ok(program),
    }
}

impl Expression {
    /// Compiles it; what is wrong with it in upstream's words otherwise.
    pub fn compile(text: &str, variables: &[&str]) -> Result<Self, String> {
        match compile(text.trim(), variables) {
            Ok(program) => Ok(Self { text: text.trim().to_owned(), program }),
            Err(why) => Err(format!("compilation failed: ERROR: {why}")),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it gives; the error in upstream's words.
    pub fn evaluate(&self, scope: &Scope) -> Result<Outcome, String> {
        let outcome = self.program.execute(&scope.0).map(Outcome);
        outcome
            .map_err(|why| format!("expression '{}' resulted in error: {}", self.text, said(&why)))
    }
}

/// The errors that users meet, as upstream says them.
fn said(why: &cel::ExecutionError) -> String {
    match why {
        cel::ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        other => other.to_string(),
    }
}

impl Default for Scope {
    fn default() -> Self {
        let mut context = Context::with_env(Arc::clone(env()));
        library::add(&mut context);
        Self(context)
    }
}

impl Scope {
    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &Value) {
        self.0.add_variable_from_value(name, convert(value));
    }

    /// Sets a variable whose fields are what other expressions gave.
    pub fn set_fields(&mut self, name: &str, fields: &HashMap<String, Outcome>) {
        let fields: HashMap<Key, Cel> =
            fields.iter().map(|(name, of)| (Key::from(name.clone()), of.0.clone())).collect();
        self.0.add_variable_from_value(name, Cel::Map(fields.into()));
    }
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

impl Outcome {
    /// Whether it is true; nothing else counts as that.
    pub fn is_true(&self) -> bool {
        self.0 == Cel::Bool(true)
    }

    /// The text that it is.
    pub fn text(&self) -> Option<&str> {
        match &self.0 {
            Cel::String(text) => Some(text),
            _ => None,
        }
    }
}

/// A value of unknown schema: whole numbers are integers.
fn convert(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(b) => Cel::Bool(*b),
        Value::Number(n) => {
            n.as_i64().map_or_else(|| Cel::Float(n.as_f64().unwrap_or_default()), Cel::Int)
        }
        Value::String(s) => Cel::from(s.as_str()),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(convert).collect())),
        Value::Object(map) => {
            let fields: HashMap<Key, Cel> =
                map.iter().map(|(name, of)| (Key::from(name.clone()), convert(of))).collect();
            Cel::Map(fields.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluated(text: &str) -> Result<Outcome, String> {
        let expression = Expression::compile(text, &["object", "variables"])?;
        let mut scope = Scope::default();
        scope.set("object", &json!({ "spec": { "replicas": 3, "names": ["a"] }, "ratio": 0.5 }));
        let doubled = Expression::compile("object.spec.replicas * 2", &["object"])?;
        let doubled = doubled.evaluate(&scope)?;
        scope.set_fields("variables", &HashMap::from([("doubled".to_owned(), doubled)]));
        expression.evaluate(&scope)
    }

    #[test]
    fn expressions_see_their_variables() {
        for holds in [
            "object.spec.replicas <= 5",
            "variables.doubled == 6",
            "object.spec.names.all(n, n == 'a')",
            "!has(object.spec.absent)",
            "object.ratio < 1.0",
            "object.?metadata.?name.orValue('') == ''",
        ] {
            assert!(evaluated(holds).unwrap().is_true(), "{holds}");
        }
        assert!(!evaluated("object.spec.replicas > 5").unwrap().is_true());
        assert!(!evaluated("object.spec.replicas").unwrap().is_true());
        assert_eq!(
            evaluated("'n is ' + string(variables.doubled)").unwrap().text(),
            Some("n is 6")
        );
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        assert_eq!(
            evaluated("object.absent > 1").unwrap_err(),
            "expression 'object.absent > 1' resulted in error: no such key: absent"
        );
        let refused = |text| Expression::compile(text, &["object"]).map(|_| ()).unwrap_err();
        assert!(refused("object.").starts_with("compilation failed: ERROR: "));
        assert_eq!(
            refused("params.x"),
            "compilation failed: ERROR: undeclared reference to 'params' (in container '')"
        );
        assert!(
            refused("authorizer.group('').resource('pods').check('get').allowed()")
                .contains("not served here")
        );
        assert!(refused("quantity('1') == object").contains("not served here"));
    }
}
