//! What must hold for any input: the bodies of the fuzz targets, which the tests run over the corpora.

// A broken promise is reported by a panic: that is what these functions are for.
#![expect(clippy::expect_used, reason = "checks for tests and fuzzers")]

use beeline_api::decode;
use beeline_api::kinds::POD;

use crate::protobuf;
use crate::query::Query;
use crate::route;

pub use beeline_api::fuzz::Target;

/// Every target by name: its corpus lies under that name.
pub const TARGETS: &[(&str, Target)] = &[("protobuf", protobuf), ("query", query)];

/// A body in protobuf: what is decoded is JSON like any other.
pub fn protobuf(data: &[u8]) {
    let Ok(value) = protobuf::decode(data, ("v1", "Pod")) else { return };
    let text = serde_json::to_vec(&value).expect("values are written");
    let again = decode::json(&text).expect("what was written is read");
    assert_eq!(again.value, value);
    // Everything that the messages know, the JSON of the kind knows, too.
    let mut pod = value;
    if pod["kind"] == "Pod" && pod["apiVersion"] == "v1" {
        let problems = decode::fields(&POD, &mut pod, &[]).expect("of the right types");
        assert!(problems.is_empty(), "{problems:?}");
    }
}

/// A request's path and query.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (path, rest) = text.split_once('?').unwrap_or((text, ""));
    let _ = route::parse(path);
    let query = Query::parse(rest);
    drop((query.list(&POD), query.watch(&POD), query.write(), query.delete(None)));
    let most = std::time::Duration::from_secs(1);
    assert!(query.timeout(most) <= most);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_corpus_file_passes_its_target() {
        beeline_api::fuzz::replay(super::TARGETS);
    }
}
