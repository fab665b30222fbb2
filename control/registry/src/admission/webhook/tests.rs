//! What webhooks answer, and what is made of it.

use serde_json::json;

use super::*;

fn webhook(sort: Sort, versions: &[&str]) -> Webhook {
    let stored = json!({ "name": "a.example.com", "admissionReviewVersions": versions });
    Webhook::parse(&stored, sort)
}

fn read(hook: &Webhook, response: &Value) -> Result<Answer, String> {
    let version = format!("admission.k8s.io/{}", hook.version);
    let review = json!({ "apiVersion": version, "kind": "AdmissionReview", "response": response });
    hook.read(review.to_string().as_bytes(), "1")
}

#[test]
fn refusals_are_upstreams_words_around_the_webhooks_own() {
    let hook = webhook(Sort::Validating, &["v1"]);
    let said = |status: Value| {
        let answer = read(&hook, &json!({ "uid": "1", "allowed": false, "status": status }));
        let refusal = answer.ok().and_then(|answer| answer.refusal).unwrap();
        (refusal.code, refusal.reason.to_string(), refusal.message)
    };
    let denied = "admission webhook \"a.example.com\" denied the request";
    let words = |more: &str| format!("{denied}{more}");
    assert_eq!(said(json!(null)), (400, String::new(), words(" without explanation")));
    assert_eq!(said(json!({ "message": "no" })), (400, String::new(), words(": no")));
    assert_eq!(
        said(json!({ "reason": "Odd", "code": 200 })),
        (400, "Odd".to_owned(), words(": Odd"))
    );
    let full = json!({ "message": "no", "reason": "Forbidden", "code": 403 });
    assert_eq!(said(full), (403, "Forbidden".to_owned(), words(": no")));
}

#[test]
fn answers_that_make_no_sense_are_failures() {
    let (mutating, validating) =
        (webhook(Sort::Mutating, &["v1"]), webhook(Sort::Validating, &["v1"]));
    let patch = STANDARD.encode("[]");
    for (hook, response, words) in [
        (&validating, json!(null), "webhook response was absent"),
        (&validating, json!({ "uid": "2" }), "expected response.uid=\"1\", got \"2\""),
        (
            &validating,
            json!({ "uid": "1", "patch": patch }),
            "validating webhook may not return response.patch",
        ),
        (
            &mutating,
            json!({ "uid": "1", "patch": patch }),
            "webhook returned response.patch but not response.patchType",
        ),
        (
            &mutating,
            json!({ "uid": "1", "patchType": "JSONPatch" }),
            "webhook returned response.patchType but not response.patch",
        ),
        (
            &mutating,
            json!({ "uid": "1", "patch": patch, "patchType": "Other" }),
            "webhook returned invalid response.patchType of \"Other\"",
        ),
    ] {
        let why = read(hook, &response).err().unwrap();
        assert_eq!(why, format!("received invalid webhook response: {words}"));
    }
    assert!(
        hook_reads_bytes(&validating, b"no JSON")
            .starts_with("received invalid webhook response: ")
    );
}

fn hook_reads_bytes(hook: &Webhook, bytes: &[u8]) -> String {
    hook.read(bytes, "1").err().unwrap()
}

#[test]
fn patches_and_warnings_are_read_in_both_versions() {
    let patch = STANDARD.encode(r#"[{"op":"add","path":"/a","value":1}]"#);
    for (versions, uid) in [(&["v2", "v1beta1"][..], ""), (&["v1", "v1beta1"], "1")] {
        let hook = webhook(Sort::Mutating, versions);
        let response = json!({ "uid": uid, "allowed": true, "patch": patch, "patchType": "JSONPatch", "warnings": ["old"] });
        let answer = read(&hook, &response).ok().unwrap();
        assert_eq!(answer.patch, Some(json!([{ "op": "add", "path": "/a", "value": 1 }])));
        assert_eq!(answer.warnings, ["old"]);
        assert!(answer.refusal.is_none());
    }
}
