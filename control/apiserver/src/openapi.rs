//! OpenAPI documents, with which kubectl explains, validates and computes patches.
//!
//! In: the kinds and the table of types. Out: the v3 index, one v3 document per group and version, and one v2 document.
//! Documents are made when they are asked for and not kept: clients keep them, under the hash in their address.

mod custom;
mod paths;
mod schema;
mod v2;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use beeline_api::types::{Type, types};
use beeline_api::{KindInfo, Kinds};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::aggregate::Remote;
use crate::discovery::Discovery;
use crate::review::{REVIEWS, ReviewInfo};

/// What documents are made of.
pub(crate) struct OpenApi {
    kinds: Arc<Kinds>,
    version: String,
    documents: Vec<Document>,
    index: Value,
}

/// Where a document is, and what of.
struct Document {
    group: &'static str,
    version: &'static str,
    path: String,
    /// Of everything that it is made of, this program's version included.
    hash: String,
}

/// What one document is about.
struct Served {
    kinds: Vec<&'static KindInfo>,
    reviews: Vec<&'static ReviewInfo>,
}

impl Served {
    /// Types of its kinds, of their parts, and what these refer to, in the order of names.
    fn types(&self) -> Vec<&'static Type> {
        let mut names: Vec<(String, &str)> =
            vec![("v1".into(), "DeleteOptions"), ("v1".into(), "Status")];
        let defined = |kind: &KindInfo| kind.custom.is_some();
        for kind in &self.kinds {
            if !defined(kind) {
                names.push((kind.api_version(), kind.kind));
            }
            for part in kind.subresources {
                if defined(kind) && part.group_version.is_none() {
                    continue;
                }
                let version = match part.group_version {
                    Some((group, version)) => crate::discovery::group_version(group, version),
                    None => kind.api_version(),
                };
                names.push((version, part.kind));
            }
        }
        names.extend(self.reviews.iter().map(|r| (r.api_version(), r.kind)));
        let mut found: Vec<&'static Type> = Vec::new();
        let mut pending: Vec<&'static Type> =
            names.iter().filter_map(|(version, kind)| types().of_kind(version, kind)).collect();
        pending.extend(types().by_name("meta.v1.ListMeta"));
        if self.kinds.iter().any(|kind| defined(kind)) {
            pending.extend(types().by_name("meta.v1.ObjectMeta"));
        }
        while let Some(next) = pending.pop() {
            if found.iter().any(|t| std::ptr::eq(*t, next)) {
                continue;
            }
            found.push(next);
            pending.extend(schema::referenced(next));
        }
        found.sort_by_key(|t| t.name);
        found
    }
}

impl OpenApi {
    pub(crate) fn new(
        kinds: Arc<Kinds>,
        discovery: &Discovery,
        remote: &Remote,
        version: &str,
    ) -> Self {
        let documents: Vec<Document> = discovery
            .group_versions()
            .map(|(group, of)| {
                let path = match group {
                    "" => format!("api/{of}"),
                    _ => format!("apis/{group}/{of}"),
                };
                Document { group, version: of, path, hash: hash(&kinds, group, of, version) }
            })
            .collect();
        let mut paths = Map::new();
        for document in &documents {
            let url = format!("/openapi/v3/{}?hash={}", document.path, document.hash);
            paths.insert(document.path.clone(), json!({ "serverRelativeURL": url }));
        }
        for (path, url) in remote.openapi() {
            paths.insert(path, json!({ "serverRelativeURL": url }));
        }
        let index = json!({ "paths": paths });
        Self { kinds, version: version.to_owned(), documents, index }
    }

    /// `/openapi/v3`
    pub(crate) fn index(&self) -> &Value {
        &self.index
    }

    /// One document and its hash.
    pub(crate) fn document(&self, path: &str) -> Option<(Bytes, &str)> {
        let of = self.documents.iter().find(|d| d.path == path)?;
        let served = self.served(|g, v| g == of.group && v == of.version);
        let mut paths = Map::new();
        paths::add(&mut paths, path, &served, paths::Form::V3);
        let schemas = schema::all(&served, schema::Form::V3);
        let document = json!({
            "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": self.version },
            "paths": paths, "components": { "schemas": schemas },
        });
        Some((Bytes::from(document.to_string()), of.hash.as_str()))
    }

    fn served(&self, fits: impl Fn(&str, &str) -> bool) -> Served {
        Served {
            kinds: self.kinds.served().filter(|k| fits(k.group, k.version)).collect(),
            reviews: REVIEWS.iter().filter(|r| fits(r.group, r.version)).collect(),
        }
    }

    /// `/openapi/v2` as JSON.
    pub(crate) fn v2_json(&self) -> Value {
        let mut paths = Map::new();
        for of in &self.documents {
            let served = self.served(|g, v| g == of.group && v == of.version);
            paths::add(&mut paths, &of.path, &served, paths::Form::V2);
        }
        let definitions = schema::all(&self.served(|_, _| true), schema::Form::V2);
        json!({
            "swagger": "2.0", "info": { "title": "Kubernetes", "version": self.version },
            "paths": paths, "definitions": definitions,
        })
    }

    /// The same in protobuf, as gnostic has it.
    pub(crate) fn v2_protobuf(&self) -> Bytes {
        v2::encode(&self.v2_json())
    }
}

/// Changes with whatever a document says: the table of types, or the definitions of its kinds.
fn hash(kinds: &Kinds, group: &str, of: &str, version: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (version, types().text()).hash(&mut hasher);
    for kind in kinds.served().filter(|k| k.group == group && k.version == of) {
        if let Some(custom) = kind.custom {
            (kind.plural, kind.kind, custom.document.to_string()).hash(&mut hasher);
            kind.subresources.iter().for_each(|part| part.name.hash(&mut hasher));
        }
    }
    format!("{:016X}", hasher.finish())
}
