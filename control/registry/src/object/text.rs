//! How objects lie in the store: JSON without `resourceVersion`, `metadata` first.
//!
//! A stored object does not know its revision, which the store gives it; with `metadata` first there is one place, always
//! the same, where the revision goes in when the object is shown. So an object is answered by copying bytes.
//! Objects in another order, of an earlier version or of kube-apiserver, are brought into this one when they are read.

use beeline_store::Revision;
use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value};

/// What every stored object begins with.
const HEAD: &[u8] = b"{\"metadata\":{";
/// `"resourceVersion":"18446744073709551615",`
pub(super) const REVISION_LEN_MAX: usize = 41;

/// A value as the store takes it.
pub(crate) fn encode(mut value: Value) -> serde_json::Result<(Bytes, Value)> {
    if let Some(meta) = value["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
    }
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"metadata\":");
    match &value["metadata"] {
        meta @ Value::Object(_) => serde_json::to_writer(&mut out, meta)?,
        _ => out.extend_from_slice(b"{}"),
    }
    let others = value.as_object().into_iter().flatten().filter(|(key, _)| *key != "metadata");
    for (key, part) in others {
        out.push(b',');
        serde_json::to_writer(&mut out, key)?;
        out.push(b':');
        serde_json::to_writer(&mut out, part)?;
    }
    out.push(b'}');
    Ok((Bytes::from(out), value))
}

/// What the store holds, in the order that is expected here.
pub(crate) fn from_store(bytes: Bytes) -> serde_json::Result<Bytes> {
    if bytes.starts_with(HEAD) && bytes.get(HEAD.len()) == Some(&b'"') {
        return Ok(bytes);
    }
    let map: Map<String, Value> = serde_json::from_slice(&bytes)?;
    Ok(encode(Value::Object(map))?.0)
}

/// The object with its revision, if it is one of the store's.
pub(super) fn append(text: &Bytes, revision: Option<Revision>, out: &mut BytesMut) {
    let Some(revision) = revision else {
        out.extend_from_slice(text);
        return;
    };
    let (head, rest) = text.split_at(HEAD.len().min(text.len()));
    out.extend_from_slice(head);
    out.extend_from_slice(b"\"resourceVersion\":\"");
    out.extend_from_slice(itoa::Buffer::new().format(revision.0).as_bytes());
    out.extend_from_slice(if rest.starts_with(b"}") { b"\"" } else { b"\"," });
    out.extend_from_slice(rest);
}

/// The value, with its revision.
pub(super) fn decode(text: &Bytes, revision: Option<Revision>) -> serde_json::Result<Value> {
    let mut value: Value = serde_json::from_slice(text)?;
    if let (Some(revision), Some(meta)) = (revision, value["metadata"].as_object_mut()) {
        meta.insert("resourceVersion".to_owned(), Value::from(revision.0.to_string()));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(text: &Bytes, revision: u64) -> Value {
        let mut out = BytesMut::new();
        append(text, Some(Revision(revision)), &mut out);
        let shown: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(shown, decode(text, Some(Revision(revision))).unwrap());
        shown
    }

    #[test]
    fn an_object_comes_back_with_the_revision_of_its_write() {
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "metadata": "{\"}" },
            "metadata": { "name": "a", "uid": "u", "resourceVersion": "3" } });
        let (text, left) = encode(object.clone()).unwrap();
        assert!(text.starts_with(b"{\"metadata\":{\"name\":\"a\""), "{text:?}");
        assert!(!left["metadata"].as_object().unwrap().contains_key("resourceVersion"));
        let mut expected = object;
        expected["metadata"]["resourceVersion"] = json!("18446744073709551615");
        assert_eq!(shown(&text, u64::MAX), expected);
        assert_eq!(from_store(text.clone()).unwrap().as_ptr(), text.as_ptr(), "nothing is copied");
    }

    #[test]
    fn other_orders_are_brought_into_ours() {
        let foreign = Bytes::from_static(
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p"},"spec":{"metadata":{}}}"#,
        );
        let text = from_store(foreign).unwrap();
        let expected = json!({ "kind": "Pod", "apiVersion": "v1", "spec": { "metadata": {} },
            "metadata": { "name": "p", "resourceVersion": "7" } });
        assert_eq!(shown(&text, 7), expected);
    }

    #[test]
    fn without_metadata_there_is_at_least_a_revision() {
        for bare in [r#"{"kind":"Odd"}"#, r#"{"metadata":{},"kind":"Odd"}"#] {
            let text = from_store(Bytes::from(bare)).unwrap();
            let expected = json!({ "kind": "Odd", "metadata": { "resourceVersion": "1" } });
            assert_eq!(shown(&text, 1), expected);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for wrong in ["", "[]", "1", "{\"metadata\":{}"] {
            assert!(from_store(Bytes::from(wrong)).is_err(), "{wrong}");
        }
    }
}
