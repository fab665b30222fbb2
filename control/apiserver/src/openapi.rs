//! OpenAPI documents: enough for kubectl to write objects with the server's own validation.
//!
//! In: the kinds. Out: the v3 index, one v3 document per group and version, and the smallest v2 document that older
//! kubectls accept. Paths are real; schemas name each kind and leave its fields open, because the server checks them.
//! PATCH does not list the strategic merge type: kubectl would compute patches from these schemas, which carry no
//! merge keys, instead of from the types it is built with.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use beeline_api::{KindInfo, Kinds};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::discovery::Discovery;

/// `swagger: "2.0"`, `info: {title, version}`: a gnostic Document.
const V2_PROTOBUF: &[u8] = b"\x0a\x032.0\x12\x0d\x0a\x07beeline\x12\x021\x20";

/// All documents, encoded once.
pub(crate) struct OpenApi {
    index: Value,
    /// `apis/apps/v1` to its document and hash.
    documents: BTreeMap<String, (Bytes, String)>,
}

impl OpenApi {
    pub(crate) fn new(kinds: &'static Kinds, discovery: &Discovery, version: &str) -> Self {
        let mut documents = BTreeMap::new();
        let mut paths = Map::new();
        for (group, group_version) in discovery.group_versions() {
            let path = if group.is_empty() {
                format!("api/{group_version}")
            } else {
                format!("apis/{group}/{group_version}")
            };
            let served: Vec<_> =
                kinds.served().filter(|k| k.group == group && k.version == group_version).collect();
            let text = document(&path, &served, version).to_string();
            let hash = hash(&text);
            let url = format!("/openapi/v3/{path}?hash={hash}");
            paths.insert(path.clone(), json!({ "serverRelativeURL": url }));
            documents.insert(path, (Bytes::from(text), hash));
        }
        Self { index: json!({ "paths": paths }), documents }
    }

    /// `/openapi/v3`
    pub(crate) fn index(&self) -> &Value {
        &self.index
    }

    /// One document and its hash.
    pub(crate) fn document(&self, path: &str) -> Option<(Bytes, &str)> {
        self.documents.get(path).map(|(bytes, hash)| (bytes.clone(), hash.as_str()))
    }

    /// `/openapi/v2`, both encodings.
    pub(crate) fn v2_protobuf() -> Bytes {
        Bytes::from_static(V2_PROTOBUF)
    }

    /// `/openapi/v2` as JSON.
    pub(crate) fn v2_json() -> Value {
        json!({ "swagger": "2.0", "info": { "title": "beeline", "version": "1" }, "paths": {}, "definitions": {} })
    }
}

fn hash(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016X}", hasher.finish())
}

fn document(path: &str, kinds: &[&'static KindInfo], version: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for kind in kinds {
        let root = format!("/{path}");
        let collection = if kind.namespaced {
            paths.insert(format!("{root}/{}", kind.plural), collection(kind, false));
            format!("{root}/namespaces/{{namespace}}/{}", kind.plural)
        } else {
            format!("{root}/{}", kind.plural)
        };
        let item = format!("{collection}/{{name}}");
        paths.insert(collection, self::collection(kind, true));
        for sub in kind.subresources.iter().filter(|s| s.name == "status") {
            paths.insert(format!("{item}/{}", sub.name), object(kind, sub.verbs));
        }
        paths.insert(item, object(kind, kind.verbs));
        schemas.insert(schema_name(kind), schema(kind, None));
        schemas.insert(format!("{}List", schema_name(kind)), schema(kind, Some("List")));
    }
    json!({
        "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": version },
        "paths": paths, "components": { "schemas": schemas },
    })
}

fn gvk(kind: &KindInfo, suffix: &str) -> Value {
    json!({ "group": kind.group, "version": kind.version, "kind": format!("{}{suffix}", kind.kind) })
}

fn schema_name(kind: &KindInfo) -> String {
    let package = match kind.group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("io.k8s.api.{package}.{}.{}", kind.version, kind.kind)
}

fn schema(kind: &KindInfo, list: Option<&str>) -> Value {
    let mut properties = json!({
        "apiVersion": { "type": "string" }, "kind": { "type": "string" },
        "metadata": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
    });
    if list.is_some() {
        let reference = format!("#/components/schemas/{}", schema_name(kind));
        properties["items"] = json!({ "type": "array", "items": { "$ref": reference } });
    }
    json!({
        "type": "object", "properties": properties, "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-group-version-kind": [gvk(kind, list.unwrap_or_default())],
    })
}

fn parameter(name: &str, kind: &str) -> Value {
    json!({ "name": name, "in": "query", "schema": { "type": kind, "uniqueItems": true } })
}

fn write_parameters() -> Value {
    json!([
        parameter("dryRun", "string"),
        parameter("fieldManager", "string"),
        parameter("fieldValidation", "string"),
        parameter("pretty", "string"),
    ])
}

fn operation(kind: &KindInfo, action: &str, parameters: &Value, body: Option<&[&str]>) -> Value {
    let reference =
        json!({ "schema": { "$ref": format!("#/components/schemas/{}", schema_name(kind)) } });
    let mut operation = json!({
        "operationId": format!("{action}{}{}", kind.version, kind.kind), "parameters": parameters,
        "responses": { "200": { "description": "OK", "content": { "application/json": reference } } },
        "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk(kind, ""),
    });
    if let Some(types) = body {
        let content: Map<String, Value> = types
            .iter()
            .map(|t| ((*t).to_owned(), json!({ "schema": { "type": "object" } })))
            .collect();
        operation["requestBody"] = json!({ "content": content, "required": true });
    }
    operation
}

fn collection(kind: &KindInfo, writable: bool) -> Value {
    let selectors =
        json!([parameter("labelSelector", "string"), parameter("fieldSelector", "string")]);
    let mut item = json!({ "get": operation(kind, "list", &selectors, None) });
    if writable && kind.verbs.contains(&"create") {
        item["post"] = operation(
            kind,
            "post",
            &write_parameters(),
            Some(&["application/json", "application/yaml"]),
        );
    }
    item
}

fn object(kind: &KindInfo, verbs: &[&str]) -> Value {
    let mut item = Map::new();
    for verb in verbs {
        let entry = match *verb {
            "get" => ("get", operation(kind, "get", &json!([parameter("pretty", "string")]), None)),
            "update" => {
                ("put", operation(kind, "put", &write_parameters(), Some(&["application/json"])))
            }
            "patch" => {
                let mut parameters = write_parameters();
                if let Some(list) = parameters.as_array_mut() {
                    list.push(parameter("force", "boolean"));
                }
                let types = [
                    "application/apply-patch+yaml",
                    "application/json-patch+json",
                    "application/merge-patch+json",
                ];
                ("patch", operation(kind, "patch", &parameters, Some(&types)))
            }
            "delete" => {
                ("delete", operation(kind, "delete", &json!([parameter("dryRun", "string")]), None))
            }
            _ => continue,
        };
        item.insert(entry.0.to_owned(), entry.1);
    }
    Value::Object(item)
}
