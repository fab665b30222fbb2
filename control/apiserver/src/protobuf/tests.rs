use serde_json::json;

use super::*;

/// A field of wire type 2.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(body.len()).unwrap()];
    out.extend_from_slice(body);
    out
}

/// The same of a field whose number takes two bytes.
fn far(number: u16, body: &[u8]) -> Vec<u8> {
    let tag = number << 3 | 2;
    let mut out = vec![
        u8::try_from(tag & 0x7f).unwrap() | 0x80,
        u8::try_from(tag >> 7).unwrap(),
        u8::try_from(body.len()).unwrap(),
    ];
    out.extend_from_slice(body);
    out
}

fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &type_meta), field(2, raw)].concat()
}

#[test]
fn a_secret_with_bytes_and_zeroes() {
    let meta = [field(1, b"s"), field(2, b""), field(3, b"ns"), field(8, b"")].concat();
    let entry = [field(1, b"k"), field(2, b"hi")].concat();
    let raw = [field(1, &meta), field(2, &entry), field(3, b"Opaque"), number(5, 0)].concat();
    let value = decode(&body("v1", "Secret", &raw), ("v1", "Secret")).unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "ns"},
        "data": {"k": "aGk="}, "type": "Opaque", "immutable": false,
    });
    assert_eq!(value, expected);
}

#[test]
fn a_deployment_keeps_pointer_zeroes_and_inlines_volumes() {
    let volume = [field(1, b"v"), field(2, &field(2, b""))].concat();
    let pod_spec = [field(1, &volume), number(11, 0)].concat();
    let max_surge = [number(1, 1), field(3, b"25%")].concat();
    let strategy = field(2, &field(2, &max_surge));
    let spec =
        [number(1, 0), field(3, &field(2, &pod_spec)), field(4, &strategy), number(5, 0)].concat();
    let value = decode(&body("apps/v1", "Deployment", &field(2, &spec)), ("", "")).unwrap();
    let expected = json!({
        "replicas": 0, "strategy": {"rollingUpdate": {"maxSurge": "25%"}},
        "template": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
    });
    assert_eq!(value["spec"], expected);
}

#[test]
fn options_come_in_any_group() {
    let raw = [number(1, 0), field(4, b"Background")].concat();
    let value = decode(&body("apps/v1", "DeleteOptions", &raw), ("", "")).unwrap();
    assert_eq!(value["gracePeriodSeconds"], 0);
    assert_eq!(value["propagationPolicy"], "Background");
}

#[test]
fn broken_bodies_are_refused() {
    assert_eq!(decode(b"{}", ("v1", "Pod")), Err(ProtobufError::NoPrefix));
    let good = body("v1", "Pod", &field(1, &field(1, b"p")));
    assert!(decode(&good, ("", "")).is_ok());
    for cut in MAGIC.len() + 1..good.len() {
        if let Ok(value) = decode(&good[..cut], ("v1", "Pod")) {
            assert!(value["metadata"]["name"].as_str().is_none(), "cut at {cut}");
        }
    }
    let unknown = decode(&body("v1", "Nonsense", b""), ("", "")).unwrap_err();
    assert_eq!(unknown.to_string(), "no kind \"Nonsense\" is registered for version \"v1\"");
}

/// Any bytes give a value or an error, never a panic: bodies with random bytes changed, from a fixed seed.
#[test]
fn hostile_bodies_do_no_harm() {
    let meta = [
        field(1, b"p"),
        field(8, &number(1, 9)),
        field(11, &[field(1, b"a"), field(2, b"b")].concat()),
    ]
    .concat();
    let container =
        [field(1, b"c"), field(6, &number(3, 80)), field(8, &field(1, &field(2, b"\x0a\x011")))]
            .concat();
    let good = body("v1", "Pod", &[field(1, &meta), field(2, &field(2, &container))].concat());
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    for _ in 0..50_000 {
        let mut bad = good.clone();
        for _ in 0..=random(4) {
            let at = MAGIC.len() + random(bad.len() - MAGIC.len());
            bad[at] = u8::try_from(random(256)).unwrap();
        }
        bad.truncate(MAGIC.len() + random(bad.len() - MAGIC.len() + 1));
        let _ = decode(&bad, ("v1", "Pod"));
    }
}

/// The schema of a definition is full of unions: a schema or a yes or no, a schema or a list, any JSON.
#[test]
fn a_definitions_schema() {
    let text = field(5, b"string");
    let items = far(24, &field(1, &text));
    let pair = far(24, &[field(2, &text), field(2, &text)].concat());
    let open = far(30, &number(1, 1));
    let values = far(30, &field(2, &text));
    let one_of = far(32, &[field(1, b"a"), field(2, &field(2, b"b"))].concat());
    let default = field(8, &field(1, br#"{"a":1}"#));
    let cases = [
        (items, json!({"items": {"type": "string"}})),
        (pair, json!({"items": [{"type": "string"}, {"type": "string"}]})),
        (open, json!({"additionalProperties": true})),
        (values, json!({"additionalProperties": {"type": "string"}})),
        (one_of, json!({"dependencies": {"a": ["b"]}})),
        (default, json!({"default": {"a": 1}})),
    ];
    for (schema, expected) in cases {
        let version = [field(1, b"v1"), number(2, 1), number(3, 1), field(4, &field(1, &schema))];
        let spec = field(2, &field(7, &version.concat()));
        let sent = body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &spec);
        let value = decode(&sent, ("", "")).unwrap();
        assert_eq!(value["spec"]["versions"][0]["schema"]["openAPIV3Schema"], expected);
    }
}
