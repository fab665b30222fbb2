//! ValidatingAdmissionPolicies with their bindings: expressions that a write has to hold.
//!
//! In: stored policies and bindings, compiled once; then writes. Out: the first refusal in upstream's words, and warnings.
//! What `Audit` asks for is not kept: there is no audit log. Refuses: changing objects.

mod decision;
mod params;

use std::collections::HashMap;

use beeline_api::expression::Expression;
use beeline_api::kinds::NAMESPACE;
use beeline_api::meta::{list, name, text};
use beeline_api::{ApiError, KindInfo};
use serde_json::{Value, json};

use self::decision::{Denial, Validation};
use self::params::{ParamKind, Params};
use super::asking::Asking;
use super::conditions::{self, Compiled, Conditions};
use super::matching::Matcher;

pub(crate) use beeline_api::kinds::POLICY_VARIABLES as VARIABLES;

/// One policy, and where it holds.
#[derive(Debug)]
pub(crate) struct Policy {
    name: String,
    pub(crate) matcher: Matcher,
    conditions: Conditions,
    variables: Vec<(String, Compiled)>,
    validations: Vec<Validation>,
    params: Option<ParamKind>,
    /// What cannot be evaluated is let through.
    ignored: bool,
    bindings: Vec<Binding>,
}

#[derive(Debug)]
struct Binding {
    name: String,
    matcher: Matcher,
    denies: bool,
    warns: bool,
    reference: Value,
}

/// Object and old object, in the version of the policy's rules.
type Objects<'a> = (Option<&'a Value>, Option<&'a Value>);

impl Policy {
    /// A policy with those of the bindings that are its own.
    pub(crate) fn parse(stored: &Value, bindings: &[&Value]) -> Self {
        let spec = &stored["spec"];
        let own = bindings.iter().filter(|b| text(&b["spec"], "policyName") == name(stored));
        let compile = |of: &Value| Expression::compile(text(of, "expression"), &VARIABLES);
        let variables = list(spec, "variables").iter();
        Self {
            name: name(stored).to_owned(),
            matcher: Matcher::of_policy(&spec["matchConstraints"]),
            conditions: Conditions::parse(spec, &VARIABLES),
            variables: variables.map(|v| (text(v, "name").to_owned(), compile(v))).collect(),
            validations: list(spec, "validations").iter().map(Validation::parse).collect(),
            params: ParamKind::parse(&spec["paramKind"]),
            ignored: spec["failurePolicy"] == "Ignore",
            bindings: own.map(|binding| Binding::parse(binding)).collect(),
        }
    }

    /// Whether it holds anywhere.
    pub(crate) fn is_bound(&self) -> bool {
        !self.bindings.is_empty()
    }

    /// Judges a write by every binding that is about it; the first refusal. Warnings are left where the write says.
    pub(crate) fn judge(
        &self,
        asking: &Asking<'_>,
        kind: &KindInfo,
        objects: Objects<'_>,
        is_about: &dyn Fn(&Matcher) -> bool,
    ) -> Option<ApiError> {
        let mut first = None;
        for binding in self.bindings.iter().filter(|binding| is_about(&binding.matcher)) {
            let params = params::find(self.params.as_ref(), &binding.reference, asking);
            let params = match params {
                Ok(params) => params,
                Err(_) if self.ignored => continue,
                Err(why) => {
                    first = first.or(Some(self.misconfigured(asking, binding, &why)));
                    continue;
                }
            };
            for denial in self.evaluate(asking, kind, objects, &params) {
                if binding.warns {
                    asking.warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        self.name, binding.name, denial.message
                    ));
                }
                if binding.denies && first.is_none() {
                    let said = format!(
                        "ValidatingAdmissionPolicy '{}' with binding '{}' denied request: {}",
                        self.name, binding.name, denial.message
                    );
                    first = Some(denial.error(&asking.request, &said));
                }
            }
        }
        first
    }

    fn misconfigured(
        &self,
        asking: &Asking<'_>,
        binding: &Binding,
        why: &params::Error,
    ) -> ApiError {
        let said = match why {
            params::Error::Policy(why) => format!(
                "ValidatingAdmissionPolicy '{}' denied request: failed to configure policy: {why}",
                self.name
            ),
            params::Error::Binding(why) => format!(
                "ValidatingAdmissionPolicy '{}' with binding '{}' denied request: failed to configure binding: {why}",
                self.name, binding.name
            ),
        };
        Denial::default().error(&asking.request, &said)
    }

    /// What does not hold, with each of the parameters.
    fn evaluate(
        &self,
        asking: &Asking<'_>,
        kind: &KindInfo,
        objects: Objects<'_>,
        params: &Params,
    ) -> Vec<Denial> {
        let mut scope = conditions::scope(&asking.request, kind, objects);
        scope.set("namespaceObject", &namespace_object(asking));
        let mut denials = Vec::new();
        for one in params.each() {
            scope.set("params", one);
            scope.set("variables", &json!({}));
            match self.conditions.hold(&scope) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(_) if self.ignored => continue,
                Err(why) => {
                    denials.push(Denial::of_error(why));
                    continue;
                }
            }
            let mut known = HashMap::new();
            for (name, variable) in &self.variables {
                // One that cannot be evaluated is missed by those that need it.
                if let Some(Ok(outcome)) = variable.as_ref().ok().map(|v| v.evaluate(&scope)) {
                    known.insert(name.clone(), outcome);
                    scope.set_fields("variables", &known);
                }
            }
            denials.extend(self.validations.iter().filter_map(|v| v.judge(&scope, self.ignored)));
        }
        denials
    }
}

/// The namespace that the object is in, as far as policies see it.
fn namespace_object(asking: &Asking<'_>) -> Value {
    let request = &asking.request;
    if request.namespace.is_empty() || *request.resource == NAMESPACE {
        return Value::Null;
    }
    let found = asking.registry.cached(&NAMESPACE, None, request.namespace);
    found.map_or(Value::Null, |namespace| namespace.value.clone())
}

impl Binding {
    fn parse(stored: &Value) -> Self {
        let spec = &stored["spec"];
        let does = |action: &str| list(spec, "validationActions").iter().any(|a| a == action);
        Self {
            name: name(stored).to_owned(),
            matcher: Matcher::of_binding(&spec["matchResources"]),
            denies: does("Deny"),
            warns: does("Warn"),
            reference: spec["paramRef"].clone(),
        }
    }
}
