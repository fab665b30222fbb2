//! Documents that change only with the kinds that are served, with their ETags.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use beeline_api::meta;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::aggregate::{Remote, merge_groups};
use crate::answer::{self, Answer};
use crate::app::Options;
use crate::discovery::Discovery;
use crate::media::DiscoveryForm;

/// One encoded document.
pub(crate) struct Document {
    bytes: Bytes,
    etag: HeaderValue,
}

/// All of discovery, and `/version`.
pub(crate) struct Documents {
    version: Document,
    /// `api` and `apis`, in each form.
    roots: BTreeMap<(bool, Option<&'static str>), Document>,
    groups: BTreeMap<String, Document>,
    resources: BTreeMap<(String, String), Document>,
}

impl Document {
    fn new(value: &Value) -> Self {
        let bytes = Bytes::from(serde_json::to_vec(value).unwrap_or_default());
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let etag = HeaderValue::from_str(&format!("\"{:016X}\"", hasher.finish()));
        Self { bytes, etag: etag.unwrap_or_else(|_| HeaderValue::from_static("\"0\"")) }
    }

    fn plain(&self) -> Answer {
        answer::uncached(answer::json_bytes(StatusCode::OK, self.bytes.clone()))
    }
}

impl Documents {
    pub(crate) fn new(discovery: &Discovery, remote: &Remote, options: &Options) -> Self {
        let mut roots = BTreeMap::new();
        roots.insert((true, None), Document::new(&discovery.legacy_versions(&options.address)));
        let mut groups = BTreeMap::new();
        let mut list = discovery.group_list();
        merge(&mut list, "groups", remote, false);
        for group in meta::list(&list, "groups") {
            let mut group = group.clone();
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            groups.insert(meta::text(&group, "name").to_owned(), Document::new(&group));
        }
        roots.insert((false, None), Document::new(&list));
        for version in ["v2", "v2beta1"] {
            let core = discovery.aggregated(true, version);
            roots.insert((true, Some(version)), Document::new(&core));
            let mut others = discovery.aggregated(false, version);
            merge(&mut others, "items", remote, true);
            roots.insert((false, Some(version)), Document::new(&others));
        }
        let mut resources = BTreeMap::new();
        for (group, version) in discovery.group_versions() {
            if let Some(value) = discovery.resources(group, version) {
                resources.insert((group.to_owned(), version.to_owned()), Document::new(&value));
            }
        }
        Self { version: Document::new(&version(&options.git_version)), roots, groups, resources }
    }

    pub(crate) fn version(&self) -> Answer {
        self.version.plain()
    }

    /// `/api` or `/apis`; the Content-Type names the form exactly, because clients choose their decoder by it.
    pub(crate) fn root(&self, core: bool, form: DiscoveryForm, headers: &HeaderMap) -> Answer {
        let version = match form {
            DiscoveryForm::Legacy => None,
            DiscoveryForm::Aggregated(version) => Some(version),
        };
        let Some(document) = self.roots.get(&(core, version)) else {
            return answer::page_not_found();
        };
        let mut response = match headers.get(IF_NONE_MATCH) {
            Some(known) if version.is_some() && *known == document.etag => {
                let mut unchanged =
                    answer::uncached(answer::text(StatusCode::NOT_MODIFIED, Bytes::new()));
                unchanged.headers_mut().remove(CONTENT_TYPE);
                unchanged
            }
            _ => document.plain(),
        };
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        if let Some(version) = version {
            response.headers_mut().insert(ETAG, document.etag.clone());
            let exact = format!(
                "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            );
            if let (StatusCode::OK, Ok(exact)) = (response.status(), HeaderValue::from_str(&exact))
            {
                response.headers_mut().insert(CONTENT_TYPE, exact);
            }
        }
        response
    }

    pub(crate) fn group(&self, group: &str) -> Answer {
        self.groups.get(group).map_or_else(answer::page_not_found, Document::plain)
    }

    pub(crate) fn resources(&self, group: String, version: String) -> Answer {
        self.resources.get(&(group, version)).map_or_else(answer::page_not_found, Document::plain)
    }
}

/// Puts the groups of other servers among ours.
fn merge(document: &mut Value, field: &str, remote: &Remote, aggregated: bool) {
    if let Value::Array(own) = document[field].take() {
        document[field] = Value::Array(merge_groups(own, remote, aggregated));
    }
}

fn version(git_version: &str) -> Value {
    let mut numbers = git_version.trim_start_matches('v').split(['.', '+']);
    let (major, minor) = (numbers.next().unwrap_or("1"), numbers.next().unwrap_or("36"));
    json!({
        "major": major, "minor": minor, "gitVersion": git_version, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none (rust)", "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}
