//! OpenAPI documents, with which kubectl explains, validates and computes patches.
//!
//! In: the kinds and the table of types. Out: the v3 index, one v3 document per group and version, and one v2 document.
//! Documents are made when they are asked for and not kept: clients keep them, under the hash in their address.

mod paths;
mod schema;
mod v2;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use beeline_api::types::{Type, types};
use beeline_api::{KindInfo, Kinds};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::discovery::Discovery;
use crate::review::{REVIEWS, ReviewInfo};

/// What documents are made of.
pub(crate) struct OpenApi {
    kinds: Arc<Kinds>,
    version: String,
    /// Group, version and path of each document.
    groups: Vec<(&'static str, &'static str, String)>,
    /// Of everything that documents are made of, this program's version included.
    hash: String,
    index: Value,
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
        for kind in &self.kinds {
            names.push((kind.api_version(), kind.kind));
            for part in kind.subresources {
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
    pub(crate) fn new(kinds: Arc<Kinds>, discovery: &Discovery, version: &str) -> Self {
        let groups: Vec<_> = discovery
            .group_versions()
            .map(|(group, of)| match group {
                "" => (group, of, format!("api/{of}")),
                _ => (group, of, format!("apis/{group}/{of}")),
            })
            .collect();
        let mut hasher = DefaultHasher::new();
        (version, types().text()).hash(&mut hasher);
        let hash = format!("{:016X}", hasher.finish());
        let mut paths = Map::new();
        for (_, _, path) in &groups {
            let url = format!("/openapi/v3/{path}?hash={hash}");
            paths.insert(path.clone(), json!({ "serverRelativeURL": url }));
        }
        let index = json!({ "paths": paths });
        Self { kinds, version: version.to_owned(), groups, hash, index }
    }

    /// `/openapi/v3`
    pub(crate) fn index(&self) -> &Value {
        &self.index
    }

    /// One document and its hash.
    pub(crate) fn document(&self, path: &str) -> Option<(Bytes, &str)> {
        let (group, version, path) = self.groups.iter().find(|(.., p)| p == path)?;
        let served = self.served(|g, v| g == *group && v == *version);
        let mut paths = Map::new();
        paths::add(&mut paths, path, &served, paths::Form::V3);
        let schemas = schema::all(&served, schema::Form::V3);
        let document = json!({
            "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": self.version },
            "paths": paths, "components": { "schemas": schemas },
        });
        Some((Bytes::from(document.to_string()), self.hash.as_str()))
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
        for (group, version, path) in &self.groups {
            let served = self.served(|g, v| g == *group && v == *version);
            paths::add(&mut paths, path, &served, paths::Form::V2);
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
