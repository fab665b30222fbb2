//! Objects, lists and events in the form a client asked for.
//!
//! In: stored objects, encoded already. Out: bytes. The plain form copies those bytes; only tables and metadata-only
//! forms are encoded anew.

use std::borrow::Borrow;
use std::time::SystemTime;

use beeline_api::table::{self, Include};
use beeline_api::time::{self, Timestamp};
use beeline_api::{ApiError, KindInfo};
use beeline_registry::{EventKind, List, Object, WatchEvent};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use crate::media::Form;
use crate::query::Query;

/// One request's way of showing objects of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renderer {
    kind: &'static KindInfo,
    form: Form,
    include: Include,
    pretty: bool,
}

impl Renderer {
    pub(crate) fn new(
        kind: &'static KindInfo,
        form: Form,
        query: &Query,
    ) -> Result<Self, ApiError> {
        let include = query.get("includeObject").unwrap_or_default();
        let include = Include::parse(include).ok_or_else(|| {
            ApiError::bad_request(format!("unrecognized includeObject value: {include:?}"))
        })?;
        Ok(Self { kind, form, include, pretty: query.flag("pretty") })
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    pub(crate) fn object(&self, object: &Object) -> Bytes {
        // A part of an object (a Scale, a Status) has no table of its own.
        let own = || object.value["kind"] == self.kind.kind;
        match self.form {
            Form::Table(version) if own() => {
                let meta =
                    json!({ "resourceVersion": object.value["metadata"]["resourceVersion"] });
                self.encode(&self.table([&*object.value], &meta, version, true))
            }
            Form::Partial(version) if own() => self.encode(&partial(&object.value, version)),
            Form::Object | Form::Table(_) | Form::Partial(_) if self.pretty => {
                self.encode(&object.value)
            }
            Form::Object | Form::Table(_) | Form::Partial(_) => object.json(),
        }
    }

    pub(crate) fn list(&self, list: &List) -> Bytes {
        let mut meta = json!({ "resourceVersion": list.revision.0.to_string() });
        if let Some(token) = &list.continue_token {
            meta["continue"] = token.as_str().into();
        }
        if let Some(remaining) = list.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
        match self.form {
            Form::Table(version) => {
                let items = list.items.iter().map(|o| o.glance());
                self.encode(&self.table(items, &meta, version, true))
            }
            Form::Partial(version) => {
                let items: Vec<Value> =
                    list.items.iter().map(|o| partial(&o.glance(), version)).collect();
                self.encode(&json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": meta, "items": items,
                }))
            }
            Form::Object => self.plain_list(list, &meta),
        }
    }

    fn plain_list(&self, list: &List, meta: &Value) -> Bytes {
        let size: usize = list.items.iter().map(|o| o.json_len() + 1).sum();
        let mut out = BytesMut::with_capacity(size + 256);
        let head = format!(
            "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{meta},\"items\":[",
            self.kind.list_kind(),
            self.kind.api_version()
        );
        out.extend_from_slice(head.as_bytes());
        for (index, object) in list.items.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            object.append_json(&mut out);
        }
        out.extend_from_slice(b"]}");
        if self.pretty {
            return serde_json::from_slice(&out)
                .map_or_else(|_| out.freeze(), |value: Value| self.encode(&value));
        }
        out.freeze()
    }

    /// Appends one line of a watch. `first` says whether column definitions are still owed.
    pub(crate) fn event(&self, event: &WatchEvent, first: &mut bool, out: &mut BytesMut) {
        let object = &event.object;
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(event.kind.as_str().as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        match self.form {
            Form::Object => object.append_json(out),
            Form::Partial(version) => append(out, &partial(&object.value, version)),
            Form::Table(version) => {
                let meta = json!({ "resourceVersion": event.revision.0.to_string() });
                let rows = (event.kind != EventKind::Bookmark).then_some(&*object.value);
                append(out, &self.table(rows, &meta, version, std::mem::take(first)));
            }
        }
        out.extend_from_slice(b"}\n");
    }

    fn table(
        &self,
        objects: impl IntoIterator<Item = impl Borrow<Value>>,
        meta: &Value,
        version: &str,
        columns: bool,
    ) -> Value {
        let mut table = table::table(self.kind, objects, meta, self.include, columns, now());
        table["apiVersion"] = format!("meta.k8s.io/{version}").into();
        table
    }

    fn encode(&self, value: &Value) -> Bytes {
        let encoded =
            if self.pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
        Bytes::from(encoded.unwrap_or_default())
    }
}

fn append(out: &mut BytesMut, value: &Value) {
    out.extend_from_slice(&serde_json::to_vec(value).unwrap_or_default());
}

fn partial(object: &Value, version: &str) -> Value {
    let mut partial = table::partial(object);
    partial["apiVersion"] = format!("meta.k8s.io/{version}").into();
    partial
}

fn now() -> Timestamp {
    time::from_system(SystemTime::now())
}
