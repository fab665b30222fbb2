//! Rules in CEL (`x-kubernetes-validations`, KEP 2876), on crate `cel`.
//!
//! In: a rule, a value and the value before. Out: a cause if it does not hold. Compiling finds syntax errors and names
//! other than `self` and `oldSelf`; what the language is here is said in [`expression`](crate::expression).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cel::objects::Key;
use cel::{Context, Program, Value as Cel};
use serde_json::Value;

use super::schema::{Of, Schema};
use crate::expression::{self, env, library};
use crate::kinds::Causes;
use crate::meta::text;
use crate::status::Cause;
use crate::validate::{duplicate, forbidden, invalid, required};

/// One rule of a schema node.
#[derive(Debug)]
pub(super) struct Rule {
    rule: String,
    message: String,
    message_expression: String,
    reason: &'static str,
    field: String,
    optional_old: bool,
    program: OnceLock<Option<Program>>,
    says: OnceLock<Option<Program>>,
}

/// Compiles an expression about `self` and `oldSelf`; what is wrong with it otherwise.
fn compile(expression: &str) -> Result<Program, String> {
    expression::compile(expression, &["self", "oldSelf"])
}

/// What is wrong with the rules of a schema, as a definition has them.
pub(super) fn check(rules: &[Value], at: &str, causes: &mut Causes) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let at = format!("{at}.x-kubernetes-validations[{i}]");
        for field in ["rule", "messageExpression"] {
            let expression = text(rule, field).trim();
            if expression.is_empty() {
                if field == "rule" {
                    causes.push(required(&format!("{at}.rule"), "rule is not specified"));
                }
                continue;
            }
            if let Err(why) = compile(expression) {
                let why = format!("compilation failed: ERROR: {why}");
                causes.push(invalid(&format!("{at}.{field}"), expression, &why));
            }
        }
        if text(rule, "message").contains('\n') {
            let why = "message must not contain line breaks";
            causes.push(invalid(&format!("{at}.message"), text(rule, "message"), why));
        }
        if text(rule, "rule").contains('\n') && text(rule, "message").is_empty() {
            let why = "message must be specified if rule contains line breaks";
            causes.push(required(&format!("{at}.message"), why));
        }
        if seen.contains(&text(rule, "rule")) {
            causes.push(duplicate(&format!("{at}.rule"), text(rule, "rule")));
        }
        seen.push(text(rule, "rule"));
    }
}

impl Rule {
    pub(super) fn parse(of: &Value) -> Self {
        let own = |field: &str| text(of, field).to_owned();
        Self {
            rule: own("rule"),
            message: own("message"),
            message_expression: own("messageExpression"),
            reason: match text(of, "reason") {
                "FieldValueForbidden" => "FieldValueForbidden",
                "FieldValueRequired" => "FieldValueRequired",
                "FieldValueDuplicate" => "FieldValueDuplicate",
                _ => "FieldValueInvalid",
            },
            field: own("fieldPath"),
            optional_old: of["optionalOldSelf"] == true,
            program: OnceLock::new(),
            says: OnceLock::new(),
        }
    }

    /// Whether it compares with the value before; then it waits for an update.
    fn is_transition(&self) -> bool {
        let program = self.program();
        program.is_some_and(|p| p.references().has_variable("oldSelf"))
    }

    fn program(&self) -> Option<&Program> {
        self.program.get_or_init(|| compile(&self.rule).ok()).as_ref()
    }

    /// Judges a value.
    pub(super) fn judge(
        &self,
        value: &Value,
        old: Option<&Value>,
        schema: &Schema,
        at: &str,
        causes: &mut Causes,
    ) {
        if self.is_transition() && old.is_none() && !self.optional_old {
            return;
        }
        let Some(program) = self.program() else { return };
        let context = self.context(value, old, schema);
        match program.execute(&context) {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => causes.push(self.broken(&context, value, schema, at)),
            Err(why) => {
                let why = format!("rule evaluation error: {why}: evaluating rule: {}", self.rule);
                causes.push(invalid(at, kind_of(schema), &why));
            }
        }
    }

    fn context(&self, value: &Value, old: Option<&Value>, schema: &Schema) -> Context<'_, '_> {
        let mut context = Context::with_env(Arc::clone(env()));
        library::add(&mut context);
        context.add_variable_from_value("self", convert(value, Some(schema)));
        let old = old.map(|old| convert(old, Some(schema)));
        if !self.optional_old {
            old.into_iter().for_each(|old| context.add_variable_from_value("oldSelf", old));
            return context;
        }
        let made = match old {
            Some(old) => {
                context.add_variable_from_value("oldSelf", old);
                env().compile("optional.of(oldSelf)")
            }
            None => env().compile("optional.none()"),
        };
        if let Some(optional) = made.ok().and_then(|p| p.execute(&context).ok()) {
            context.add_variable_from_value("oldSelf", optional);
        }
        context
    }

    fn broken(&self, context: &Context<'_, '_>, value: &Value, schema: &Schema, at: &str) -> Cause {
        let message = self.said(context);
        let field = format!("{at}{}", self.field);
        let field = field.trim_start_matches('.');
        let of = kind_of(schema);
        match self.reason {
            "FieldValueForbidden" => forbidden(field, &message),
            "FieldValueRequired" => required(field, &message),
            "FieldValueDuplicate" => duplicate(field, value.clone()),
            _ => invalid(field, of, &message),
        }
    }

    /// The message: computed, given, or made of the rule.
    fn said(&self, context: &Context<'_, '_>) -> String {
        let compiled = || match self.message_expression.trim() {
            "" => None,
            expression => compile(expression).ok(),
        };
        if let Some(program) = self.says.get_or_init(compiled)
            && let Ok(Cel::String(said)) = program.execute(context)
            && !said.trim().is_empty()
            && !said.contains('\n')
        {
            return said.trim().to_owned();
        }
        if self.message.is_empty() {
            return format!("failed rule: {}", self.rule.trim());
        }
        self.message.clone()
    }
}

/// Compiles an expression as a rule, and has it judge a value.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn evaluate(expression: &str, value: &Value) {
    let given = serde_json::json!({ "rule": expression, "messageExpression": expression });
    let mut causes = Causes::new();
    check(std::slice::from_ref(&given), "", &mut causes);
    Rule::parse(&given).judge(value, Some(value), &Schema::default(), "", &mut causes);
}

fn kind_of(schema: &Schema) -> &'static str {
    schema.of.map_or("", Of::name)
}

/// A value as CEL sees it: numbers by the schema's types, field names escaped where they are no identifiers.
fn convert(value: &Value, schema: Option<&Schema>) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(b) => Cel::Bool(*b),
        Value::Number(n) => number(n, schema),
        Value::String(s) => written(s, schema),
        Value::Array(items) => {
            let of = schema.and_then(|s| s.items.as_deref());
            let items: Vec<Cel> = items.iter().map(|item| convert(item, of)).collect();
            Cel::List(Arc::new(items))
        }
        Value::Object(map) => {
            let fields: HashMap<Key, Cel> = map
                .iter()
                .map(|(name, value)| {
                    let field = schema.and_then(|s| s.field(name));
                    let known = schema.is_some_and(|s| s.properties.contains_key(name));
                    let name = if known { escape(name) } else { name.clone() };
                    (Key::from(name), convert(value, field))
                })
                .collect();
            Cel::Map(fields.into())
        }
    }
}

fn number(n: &serde_json::Number, schema: Option<&Schema>) -> Cel {
    let float = || Cel::Float(n.as_f64().unwrap_or_default());
    match schema.and_then(|s| s.of) {
        Some(Of::Number) => float(),
        _ => n.as_i64().map_or_else(float, Cel::Int),
    }
}

/// Text; moments, durations and bytes where the format says so.
fn written(s: &str, schema: Option<&Schema>) -> Cel {
    let format = schema.and_then(|s| s.limits.as_deref()).map_or("", |l| l.format.as_str());
    let expression = match format {
        "date-time" => "timestamp(self)",
        "duration" => "duration(self)",
        "byte" => return library::base64(s),
        _ => return Cel::from(s),
    };
    let mut context = Context::with_env(Arc::clone(env()));
    context.add_variable_from_value("self", Cel::from(s));
    let made = env().compile(expression).ok().and_then(|p| p.execute(&context).ok());
    made.unwrap_or_else(|| Cel::from(s))
}

/// Names that CEL keeps for itself.
const RESERVED: [&str; 19] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "void",
];

/// `x-y` is `x__dash__y`, `namespace` is `__namespace__`.
fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    let plain = name.replace("__", "__underscores__");
    plain.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__")
}

#[cfg(test)]
mod tests;
