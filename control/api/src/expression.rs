//! Expressions in CEL, on crate `cel`: rules of definitions, match conditions of webhooks, admission policies.
//!
//! In: text, the names of the variables it may use, and their values. Out: a compiled [`Expression`] and what it gives.
//! Compiling finds syntax errors, other names, and functions that are not here; types are known only when an expression
//! runs, and there are no cost limits. Of Kubernetes' own libraries the crate has optionals, strings, math and lists;
//! `library`, `quantity` and `authority` add to them. What is missing (objects of type semver, URL, IP and CIDR, named
//! formats, `authorizer.requestResource`) is refused when compiled.

mod authority;
pub(crate) mod library;
mod names;
mod quantity;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cel::objects::Key;
use cel::{Context, Env, Program, Value as Cel};
use serde_json::Value;

pub use authority::{Authority, Question};

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
    if names::selects(program.expression(), "authorizer", "requestResource") {
        return Err("'authorizer.requestResource' is not served here".to_owned());
    }
    match unknown {
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

    /// Sets the variable `authorizer`.
    pub fn set_authority(&mut self, authority: Authority) {
        self.0.add_variable_from_value("authorizer", authority::value(authority));
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
        assert!(refused("semver('1.0.0') == object").contains("not served here"));
        let whole = Expression::compile("authorizer.requestResource.check('get')", &["authorizer"]);
        assert!(whole.unwrap_err().contains("'authorizer.requestResource' is not served here"));
    }

    #[test]
    fn quantities_compare_and_add() {
        for holds in [
            "quantity('1Gi').isGreaterThan(quantity('1G'))",
            "quantity('500m').isLessThan(quantity('1'))",
            "quantity('1000m') == quantity('1')",
            "quantity('1').compareTo(quantity('2')) == -1",
            "quantity('1').add(quantity('500m')).sub(1) == quantity('0.5')",
            "quantity('2k').isInteger() && quantity('2k').asInteger() == 2000",
            "!quantity('1m').isInteger() && quantity('-1').sign() == -1",
            "quantity('1500m').asApproximateFloat() == 1.5",
        ] {
            assert!(evaluated(holds).unwrap().is_true(), "{holds}");
        }
        assert!(
            evaluated("quantity('many').isInteger()")
                .unwrap_err()
                .contains("quantities must match")
        );
    }

    #[test]
    fn the_authorizer_is_asked() {
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let mut scope = Scope::default();
        scope.set_authority(Arc::new(move |question| {
            seen.lock().unwrap().push(question.clone());
            question.verb == "get"
        }));
        let ask = |text: &str| {
            let expression = Expression::compile(text, &["authorizer"]).unwrap();
            expression.evaluate(&scope).unwrap().is_true()
        };
        assert!(ask(
            "authorizer.group('apps').resource('deployments').subresource('scale').namespace('a').name('b').check('get').allowed()"
        ));
        assert!(!ask(
            "authorizer.serviceAccount('a', 'b').path('/healthz').check('post').allowed()"
        ));
        assert!(ask("authorizer.path('/x').check('post').reason() == ''"));
        let asked = asked.lock().unwrap();
        let own = str::to_owned;
        let first = Question {
            group: own("apps"),
            resource: own("deployments"),
            subresource: own("scale"),
            namespace: own("a"),
            name: own("b"),
            verb: own("get"),
            ..Question::default()
        };
        let second = Question {
            account: Some((own("a"), own("b"))),
            path: Some(own("/healthz")),
            verb: own("post"),
            ..Question::default()
        };
        assert_eq!(asked[..2], [first, second]);
    }
}
