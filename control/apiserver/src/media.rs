//! Media types: what a client accepts, what a body is.
//!
//! In: header values. Out: a [`Form`], a [`BodyType`] or a [`PatchType`], or upstream's 406 and 415. Pure.

use beeline_api::ApiError;

/// The JSON a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The object itself.
    Object,
    /// `as=Table`, of that version of `meta.k8s.io`.
    Table(&'static str),
    /// `as=PartialObjectMetadata` or its list.
    Partial(&'static str),
}

/// Encoding of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyType {
    Json,
    Yaml,
    Protobuf,
}

/// The four patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// The discovery document a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiscoveryForm {
    /// One document per group and version.
    Legacy,
    /// Everything at once, in that version of `apidiscovery.k8s.io`.
    Aggregated(&'static str),
}

/// One entry of an Accept header.
#[derive(Debug)]
struct Entry<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> Entry<'a> {
    fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn is_json(&self) -> bool {
        matches!(self.media, "application/json" | "application/*" | "*/*")
    }
}

/// The form of an object, list or event stream; 406 if none of those asked for is offered.
pub(crate) fn form(accept: Option<&str>) -> Result<Form, ApiError> {
    let Some(entries) = entries(accept) else { return Ok(Form::Object) };
    entries.iter().filter(|e| e.is_json()).find_map(object_form).ok_or_else(not_acceptable)
}

fn object_form(entry: &Entry<'_>) -> Option<Form> {
    let version = match entry.param("v") {
        None | Some("v1") => "v1",
        Some("v1beta1") => "v1beta1",
        Some(_) => return None,
    };
    match (entry.param("as"), entry.param("g")) {
        (None, _) => Some(Form::Object),
        (Some("Table"), Some("meta.k8s.io")) => Some(Form::Table(version)),
        (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("meta.k8s.io")) => {
            Some(Form::Partial(version))
        }
        _ => None,
    }
}

/// The form of `/api` and `/apis`.
pub(crate) fn discovery(accept: Option<&str>) -> Result<DiscoveryForm, ApiError> {
    let Some(entries) = entries(accept) else { return Ok(DiscoveryForm::Legacy) };
    let form = |entry: &Entry<'_>| match (entry.param("as"), entry.param("g"), entry.param("v")) {
        (None, ..) => Some(DiscoveryForm::Legacy),
        (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => {
            Some(DiscoveryForm::Aggregated("v2"))
        }
        (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2beta1")) => {
            Some(DiscoveryForm::Aggregated("v2beta1"))
        }
        _ => None,
    };
    entries.iter().filter(|e| e.is_json()).find_map(form).ok_or_else(not_acceptable)
}

/// Whether the first of the acceptable types is protobuf, for the one document that has to be.
pub(crate) fn prefers_protobuf(accept: Option<&str>) -> bool {
    entries(accept)
        .and_then(|e| e.into_iter().next())
        .is_some_and(|e| e.media.ends_with("protobuf"))
}

/// None where there is no preference at all.
fn entries(accept: Option<&str>) -> Option<Vec<Entry<'_>>> {
    let accept = accept.map(str::trim).filter(|a| !a.is_empty())?;
    let mut entries: Vec<(f32, Entry<'_>)> = accept.split(',').map(entry).collect();
    entries.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Some(entries.into_iter().map(|(_, entry)| entry).collect())
}

fn entry(text: &str) -> (f32, Entry<'_>) {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let params: Vec<_> = parts.filter_map(|p| p.split_once('=')).collect();
    let quality =
        params.iter().find(|(k, _)| *k == "q").and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0);
    (quality, Entry { media, params })
}

fn essence(content_type: Option<&str>) -> &str {
    content_type.and_then(|t| t.split(';').next()).map(str::trim).unwrap_or_default()
}

/// How to read a body of that Content-Type. None at all means JSON: generated clients leave it out.
pub(crate) fn body_type(content_type: Option<&str>) -> Result<BodyType, ApiError> {
    match essence(content_type) {
        "" | "application/json" | "*/*" => Ok(BodyType::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(BodyType::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(BodyType::Protobuf),
        _ => Err(ApiError::unsupported_media_type(&[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ])),
    }
}

/// Which patch a body of that Content-Type is.
pub(crate) fn patch_type(content_type: Option<&str>) -> Result<PatchType, ApiError> {
    match essence(content_type) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(ApiError::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ])),
    }
}

fn not_acceptable() -> ApiError {
    ApiError::new(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers_of_real_clients() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let cases = [
            (None, Form::Object),
            (Some(""), Form::Object),
            (Some("*/*"), Form::Object),
            (Some("application/json, */*"), Form::Object),
            (Some("application/vnd.kubernetes.protobuf,application/json"), Form::Object),
            (Some(table), Form::Table("v1")),
            (
                Some("application/json;as=Nonsense;v=v1;g=meta.k8s.io,application/json"),
                Form::Object,
            ),
            (
                Some("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
                Form::Partial("v1"),
            ),
            (Some("application/cbor;q=1,application/json;q=0.9"), Form::Object),
        ];
        for (accept, expected) in cases {
            assert_eq!(form(accept), Ok(expected), "{accept:?}");
        }
        for refused in ["application/cbor", "text/plain", "application/vnd.kubernetes.protobuf"] {
            assert_eq!(form(Some(refused)).unwrap_err().code, 406, "{refused}");
        }
    }

    #[test]
    fn discovery_headers_of_real_clients() {
        let new = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(discovery(Some(new)), Ok(DiscoveryForm::Aggregated("v2")));
        assert_eq!(discovery(Some(old)), Ok(DiscoveryForm::Aggregated("v2beta1")));
        assert_eq!(discovery(Some("application/json, */*")), Ok(DiscoveryForm::Legacy));
        assert_eq!(discovery(None), Ok(DiscoveryForm::Legacy));
    }

    #[test]
    fn bodies() {
        assert_eq!(body_type(None), Ok(BodyType::Json));
        assert_eq!(body_type(Some("application/json; charset=utf-8")), Ok(BodyType::Json));
        assert_eq!(body_type(Some("application/cbor")).unwrap_err().code, 415);
        assert_eq!(patch_type(Some("application/apply-patch+yaml")), Ok(PatchType::Apply));
        assert_eq!(patch_type(Some("application/json")).unwrap_err().code, 415);
        assert!(prefers_protobuf(Some(
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        )));
    }
}
