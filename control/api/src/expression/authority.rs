//! The authorizer in expressions, as Kubernetes' CEL library has it:
//! `authorizer.group('apps').resource('deployments').namespace('a').check('create').allowed()`.
//!
//! In: somebody who knows. Out: a value with the library's functions. `authorizer.requestResource` is refused when compiled.

use std::sync::Arc;

use cel::extractors::This;
use cel::objects::Opaque;
use cel::{Context, ExecutionError, Value};

type Object = Arc<dyn Opaque>;
type Made = Result<Object, ExecutionError>;
type Text = Arc<String>;

/// What an expression wants to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of a service account; without it, who makes the request.
    pub account: Option<(String, String)>,
    /// A path that is no object.
    pub path: Option<String>,
    /// API group.
    pub group: String,
    /// Plural.
    pub resource: String,
    /// Part of the resource.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What is to be done.
    pub verb: String,
}

/// Who knows.
pub type Authority = Arc<dyn Fn(&Question) -> bool + Send + Sync>;

/// Says one thing more.
type Set = fn(&mut Question, String);

struct Asking {
    authority: Authority,
    question: Question,
}

#[derive(Debug, PartialEq, Eq)]
struct Decision(bool);

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.question.fmt(f)
    }
}

impl PartialEq for Asking {
    fn eq(&self, other: &Self) -> bool {
        self.question == other.question
    }
}
impl Eq for Asking {}

impl Opaque for Asking {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.authorization.Authorizer"
    }
}

impl Opaque for Decision {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.authorization.Decision"
    }
}

/// The variable `authorizer`.
pub(super) fn value(authority: Authority) -> Value {
    Value::Opaque(Arc::new(Asking { authority, question: Question::default() }))
}

/// Adds its functions.
pub(super) fn add(context: &mut Context<'_, '_>) {
    // Each says one thing more of what is asked.
    let fields: [(&str, Set); 6] = [
        ("path", |question, path| question.path = Some(path)),
        ("group", |question, group| question.group = group),
        ("resource", |question, resource| question.resource = resource),
        ("subresource", |question, part| question.subresource = part),
        ("namespace", |question, namespace| question.namespace = namespace),
        ("name", |question, name| question.name = name),
    ];
    for (function, set) in fields {
        let _ = context.add_function(function, move |This(of): This<Object>, text: Text| {
            more(&of, |question| set(question, text.to_string()))
        });
    }
    let _ = context.add_function(
        "serviceAccount",
        |This(of): This<Object>, namespace: Text, name: Text| {
            let account = Some((namespace.to_string(), name.to_string()));
            more(&of, |question| question.account = account)
        },
    );
    let _ = context.add_function("check", |This(of): This<Object>, verb: Text| -> Made {
        let asking = asking(&of)?;
        let question = Question { verb: verb.to_string(), ..asking.question.clone() };
        Ok(Arc::new(Decision((asking.authority)(&question))))
    });
    let _ = context.add_function("allowed", |This(of): This<Object>| decided(&of));
    // Roles give no reasons, and asking them does not fail.
    for (function, text) in [("reason", ""), ("error", "")] {
        let _ = context.add_function(function, move |This(of): This<Object>| {
            decided(&of).map(|_| Value::from(text))
        });
    }
    let _ = context.add_function("errored", |This(of): This<Object>| decided(&of).map(|_| false));
}

fn asking(object: &Object) -> Result<&Asking, ExecutionError> {
    let wrong = || ExecutionError::unsupported_target_type(Value::Opaque(Arc::clone(object)));
    object.downcast_ref::<Asking>().ok_or_else(wrong)
}

fn more(object: &Object, set: impl FnOnce(&mut Question)) -> Made {
    let asking = asking(object)?;
    let mut question = asking.question.clone();
    set(&mut question);
    Ok(Arc::new(Asking { authority: Arc::clone(&asking.authority), question }))
}

fn decided(object: &Object) -> Result<bool, ExecutionError> {
    let wrong = || ExecutionError::unsupported_target_type(Value::Opaque(Arc::clone(object)));
    object.downcast_ref::<Decision>().map(|decision| decision.0).ok_or_else(wrong)
}
