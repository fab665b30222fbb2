//! What may be done where: a path per collection, object and part of an object.

use beeline_api::KindInfo;
use beeline_api::kinds::SubresourceInfo;
use beeline_api::types::types;
use serde_json::{Map, Value, json};

use super::{Served, custom, schema};
use crate::discovery::group_version;

pub(super) use super::schema::Form;

/// The body types of a patch.
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const BODIES: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The kind that a path reads and writes.
#[derive(Clone, Copy)]
struct About<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    /// Its schema is its definition's, and neither strategic patches nor protobuf are for it.
    defined: bool,
    form: Form,
}

/// Adds the paths below `root` (`apis/apps/v1`).
pub(super) fn add(paths: &mut Map<String, Value>, root: &str, served: &Served, form: Form) {
    for kind in &served.kinds {
        let about = About {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
            defined: kind.custom.is_some(),
            form,
        };
        let collection = if kind.namespaced {
            let everywhere = json!({ "get": about.operation("list", &lists(form), false) });
            paths.insert(format!("/{root}/{}", kind.plural), everywhere);
            format!("/{root}/namespaces/{{namespace}}/{}", kind.plural)
        } else {
            format!("/{root}/{}", kind.plural)
        };
        let item = format!("{collection}/{{name}}");
        paths.insert(collection, about.collection(kind));
        // Objects are made in their collection.
        let verbs: Vec<&str> = kind.verbs.iter().copied().filter(|v| *v != "create").collect();
        paths.insert(item.clone(), about.object(&verbs));
        for part in kind.subresources {
            paths.insert(format!("{item}/{}", part.name), about.part(part));
        }
    }
    for review in &served.reviews {
        let about = About {
            group: review.group,
            version: review.version,
            kind: review.kind,
            defined: false,
            form,
        };
        let post = about.operation("post", &writes(form), true);
        let place = if review.namespaced { "/namespaces/{namespace}" } else { "" };
        paths.insert(format!("/{root}{place}/{}", review.plural), json!({ "post": post }));
    }
}

fn parameter(name: &str, kind: &str, form: Form) -> Value {
    match form {
        Form::V3 => {
            json!({ "name": name, "in": "query", "schema": { "type": kind, "uniqueItems": true } })
        }
        Form::V2 => json!({ "name": name, "in": "query", "type": kind, "uniqueItems": true }),
    }
}

fn lists(form: Form) -> Vec<Value> {
    let texts =
        ["labelSelector", "fieldSelector", "continue", "resourceVersion", "resourceVersionMatch"];
    let mut all: Vec<Value> = texts.iter().map(|n| parameter(n, "string", form)).collect();
    all.extend(["limit", "timeoutSeconds"].map(|n| parameter(n, "integer", form)));
    all.extend(
        ["watch", "allowWatchBookmarks", "sendInitialEvents"]
            .map(|n| parameter(n, "boolean", form)),
    );
    all
}

fn writes(form: Form) -> Vec<Value> {
    let names = ["dryRun", "fieldManager", "fieldValidation", "pretty"];
    names.iter().map(|n| parameter(n, "string", form)).collect()
}

impl<'a> About<'a> {
    fn gvk(&self) -> Value {
        json!({ "group": self.group, "version": self.version, "kind": self.kind })
    }

    fn reference(&self) -> Value {
        let of = types().of_kind(&group_version(self.group, self.version), self.kind);
        let name = if self.defined {
            custom::name(self.group, self.version, self.kind)
        } else {
            of.map(schema::name).unwrap_or_default()
        };
        match self.form {
            Form::V3 => json!({ "$ref": format!("#/components/schemas/{name}") }),
            Form::V2 => json!({ "$ref": format!("#/definitions/{name}") }),
        }
    }

    fn operation(&self, action: &str, parameters: &[Value], body: bool) -> Value {
        let mut operation = json!({
            "operationId": format!("{action}{}{}", self.version, self.kind),
            "parameters": parameters,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": self.gvk(),
        });
        let types: &[&str] = if action == "patch" { &PATCHES } else { &BODIES };
        // The last of each is for built-in kinds only.
        let types = if self.defined { &types[..types.len() - 1] } else { types };
        let sent = if action == "patch" { json!({ "type": "object" }) } else { self.reference() };
        match self.form {
            Form::V3 => {
                let content = |schema: &Value, types: &[&str]| -> Map<String, Value> {
                    types.iter().map(|t| ((*t).to_owned(), json!({ "schema": schema }))).collect()
                };
                let answer = content(&self.reference(), &["application/json"]);
                operation["responses"] =
                    json!({ "200": { "description": "OK", "content": answer } });
                if body {
                    operation["requestBody"] =
                        json!({ "content": content(&sent, types), "required": true });
                }
            }
            Form::V2 => {
                let answer = json!({ "description": "OK", "schema": self.reference() });
                operation["responses"] = json!({ "200": answer });
                operation["produces"] = json!(["application/json"]);
                if body {
                    operation["consumes"] = json!(types);
                    let body =
                        json!({ "name": "body", "in": "body", "required": true, "schema": sent });
                    if let Some(all) = operation["parameters"].as_array_mut() {
                        all.insert(0, body);
                    }
                }
            }
        }
        operation
    }

    fn collection(&self, kind: &KindInfo) -> Value {
        let mut item = json!({ "get": self.operation("list", &lists(self.form), false) });
        if kind.verbs.contains(&"create") {
            item["post"] = self.operation("post", &writes(self.form), true);
        }
        if kind.verbs.contains(&"deletecollection") {
            item["delete"] = self.operation("deletecollection", &lists(self.form), false);
        }
        item
    }

    fn object(&self, verbs: &[&str]) -> Value {
        let mut item = Map::new();
        for verb in verbs {
            let (method, action, mut parameters, body) = match *verb {
                "get" => ("get", "get", vec![parameter("pretty", "string", self.form)], false),
                "create" => ("post", "post", writes(self.form), true),
                "update" => ("put", "put", writes(self.form), true),
                "patch" => ("patch", "patch", writes(self.form), true),
                "delete" => {
                    ("delete", "delete", vec![parameter("dryRun", "string", self.form)], false)
                }
                _ => continue,
            };
            if *verb == "patch" {
                parameters.push(parameter("force", "boolean", self.form));
            }
            item.insert(method.to_owned(), self.operation(action, &parameters, body));
        }
        Value::Object(item)
    }

    fn part(&self, part: &'a SubresourceInfo) -> Value {
        let (group, version) = part.group_version.unwrap_or((self.group, self.version));
        let defined = self.defined && part.group_version.is_none();
        About { group, version, kind: part.kind, defined, form: self.form }.object(part.verbs)
    }
}
