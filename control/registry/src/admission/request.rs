//! One write as those outside see it: who, what, where, how; and the review that webhooks are sent.
//!
//! In: a caller, a kind as he named it, and objects. Out: the `request` of an AdmissionReview. Pure but for the caller's options.

use beeline_api::KindInfo;
use serde_json::{Map, Value, json};

use crate::options::{Caller, DeleteOptions, Propagation, WriteOptions};
use crate::roles::Access;

/// What is done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// How a write was asked for: by whom, and as which kind.
#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) caller: &'a Caller,
    /// None where those outside were asked about another object before, a Scale or a Binding.
    pub(crate) asked: Option<Asked>,
}

/// The kind that the caller named, and the options of his request.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) kind: &'static KindInfo,
    /// `UpdateOptions` or `PatchOptions`.
    pub(crate) options: &'static str,
}

impl<'a> By<'a> {
    pub(crate) fn of(caller: &'a Caller, kind: &'static KindInfo, options: &'static str) -> Self {
        Self { caller, asked: Some(Asked { kind, options }) }
    }

    /// A write that nobody outside is asked about.
    pub(crate) fn itself(caller: &'a Caller) -> Self {
        Self { caller, asked: None }
    }
}

/// One write.
pub(crate) struct Request<'a> {
    pub(crate) operation: Operation,
    pub(crate) caller: &'a Caller,
    /// The resource that the caller named.
    pub(crate) resource: &'static KindInfo,
    /// Part of it, or nothing.
    pub(crate) subresource: &'static str,
    /// Namespaces are in themselves, as upstream has it.
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) options: Value,
    pub(crate) dry_run: bool,
    /// Who knows what callers may, for expressions that ask.
    pub(crate) access: &'a Access,
}

impl Request<'_> {
    /// Group, version and kind of the objects in a version of the resource.
    fn kind(&self, resource: &KindInfo) -> Value {
        let part = resource.subresource(self.subresource);
        let (group, version) =
            part.and_then(|part| part.group_version).unwrap_or((resource.group, resource.version));
        let kind = part.map_or(resource.kind, |part| part.kind);
        json!({ "group": group, "version": version, "kind": kind })
    }

    /// What is said of it, its objects aside; `kind` is the version that the objects are in.
    pub(crate) fn described(&self, kind: &KindInfo) -> Map<String, Value> {
        let resource = |of: &KindInfo| json!({ "group": of.group, "version": of.version, "resource": of.plural });
        let mut user = json!({ "username": self.caller.user, "groups": self.caller.groups });
        if !self.caller.uid.is_empty() {
            user["uid"] = json!(self.caller.uid);
        }
        if !self.caller.extra.is_empty() {
            user["extra"] = json!(self.caller.extra);
        }
        let mut said = Map::new();
        let mut say = |field: &str, value: Value| drop(said.insert(field.to_owned(), value));
        say("kind", self.kind(kind));
        say("resource", resource(kind));
        say("requestKind", self.kind(self.resource));
        say("requestResource", resource(self.resource));
        for (field, text) in [
            ("subResource", self.subresource),
            ("requestSubResource", self.subresource),
            ("name", self.name),
            ("namespace", self.namespace),
        ] {
            if !text.is_empty() {
                say(field, Value::from(text));
            }
        }
        say("operation", Value::from(self.operation.name()));
        say("userInfo", user);
        say("dryRun", Value::from(self.dry_run));
        say("options", self.options.clone());
        said
    }
}

/// The body for a webhook.
pub(crate) fn review(
    request: &Request<'_>,
    kind: &KindInfo,
    (object, old): (Option<&Value>, Option<&Value>),
    (uid, version): (&str, &str),
) -> Value {
    let mut said = request.described(kind);
    said.insert("uid".to_owned(), Value::from(uid));
    said.insert("object".to_owned(), object.cloned().unwrap_or_default());
    said.insert("oldObject".to_owned(), old.cloned().unwrap_or_default());
    json!({ "kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": said })
}

/// Options of create, update and patch as an object.
pub(crate) fn write_options(kind: &str, o: &WriteOptions) -> Value {
    let mut options = json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" });
    if let Some(manager) = &o.field_manager {
        options["fieldManager"] = json!(manager);
    }
    if kind == "PatchOptions" && o.force {
        options["force"] = json!(true);
    }
    if o.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    options
}

/// Options of delete as an object.
pub(crate) fn delete_options(o: &DeleteOptions) -> Value {
    let mut options = json!({ "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1" });
    if let Some(seconds) = o.grace_period_seconds {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    if let Some(how) = o.propagation {
        options["propagationPolicy"] = json!(match how {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        });
    }
    for (field, wanted) in
        [("uid", &o.preconditions.uid), ("resourceVersion", &o.preconditions.resource_version)]
    {
        if let Some(wanted) = wanted {
            options["preconditions"][field] = json!(wanted);
        }
    }
    if o.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    options
}
