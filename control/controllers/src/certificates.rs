//! CertificateSigningRequests: those of nodes are approved, approved ones of Kubernetes' own signers are signed, old ones go.
//!
//! In: every request, who may have a node's certificate for the asking, and something that signs. Out: conditions,
//! certificates, deletions. Signing is a calculation as any other: the plan stays pure.

use std::sync::Arc;
use std::time::Duration;

use beeline_api::kinds;
use beeline_api::time::Timestamp;
use beeline_registry::Client;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::write::{ObjectId, Part, Removal, Write};

/// Which signer's requests are approved without a person.
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// How long decided requests stay.
const DECIDED: Duration = Duration::from_secs(3_600);
/// How long undecided requests stay.
const PENDING: Duration = Duration::from_secs(24 * 3_600);

/// A certificate in PEM for an approved request, or what is wrong with it; `None` for signers of others.
pub type Sign = dyn Fn(&CertificateSigningRequest) -> Option<Result<String, String>> + Send + Sync;
/// Whose name a request asks for, if it can be read.
pub type UserOf = dyn Fn(&CertificateSigningRequest) -> Option<String> + Send + Sync;

/// What reads and signs requests.
#[derive(Clone)]
pub struct Authority {
    /// Reads.
    pub user_of: Arc<UserOf>,
    /// Signs.
    pub sign: Arc<Sign>,
}

/// Whether who made the request may have a node's client certificate for the asking: by a bootstrap token for any node, or
/// as that node itself.
pub fn is_node(
    client: &Client,
    authority: &Authority,
    request: &CertificateSigningRequest,
) -> bool {
    let spec = &request.spec;
    let (user, groups) =
        (spec.username.as_deref().unwrap_or_default(), spec.groups.as_deref().unwrap_or_default());
    let may = |part| {
        let resource = ("certificatesigningrequests", part);
        client.registry().may((user, groups), "create", "certificates.k8s.io", resource)
    };
    let wanted = (authority.user_of)(request);
    let is_itself = wanted.as_deref() == Some(user);
    wanted.is_some() && (may("nodeclient") || (is_itself && may("selfnodeclient")))
}

/// What has to be written now.
pub fn plan(
    requests: &[Arc<CertificateSigningRequest>],
    is_node: &dyn Fn(&CertificateSigningRequest) -> bool,
    sign: &Sign,
    now: Timestamp,
) -> Vec<Write> {
    requests.iter().filter_map(|request| step(request, is_node, sign, now)).collect()
}

fn step(
    request: &CertificateSigningRequest,
    is_node: &dyn Fn(&CertificateSigningRequest) -> bool,
    sign: &Sign,
    now: Timestamp,
) -> Option<Write> {
    let object = ObjectId::of(&request.metadata);
    if is_old(request, now) {
        return Some(Write::delete(&kinds::CERTIFICATE_SIGNING_REQUEST, object, Removal::Graceful));
    }
    let before = request.status.clone().unwrap_or_default();
    if before.certificate.is_some() || has(request, "Denied") || has(request, "Failed") {
        return None;
    }
    let mut after = before.clone();
    let part = if has(request, "Approved") {
        match sign(request)? {
            Ok(pem) => after.certificate = Some(ByteString(pem.into_bytes())),
            Err(why) => add(&mut after, "Failed", "SignerValidationFailure", &why, now),
        }
        Part::Status
    } else if request.spec.signer_name == NODE_CLIENT && is_node(request) {
        let why = "Auto approving kubelet client certificate after SubjectAccessReview.";
        add(&mut after, "Approved", "AutoApproved", why, now);
        Part::Approval
    } else {
        return None;
    };
    let kind = &kinds::CERTIFICATE_SIGNING_REQUEST;
    let old = CertificateSigningRequest { status: Some(before), ..request.clone() };
    let new = CertificateSigningRequest { status: Some(after), ..request.clone() };
    Write::change(kind, object, part, &old, &new)
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    let conditions =
        request.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    conditions.into_iter().any(|condition| condition.type_ == kind)
}

fn add(
    status: &mut CertificateSigningRequestStatus,
    kind: &str,
    reason: &str,
    why: &str,
    now: Timestamp,
) {
    status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(why.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
}

/// As upstream's cleaner: an hour after a decision or a certificate, a day without any.
fn is_old(request: &CertificateSigningRequest, now: Timestamp) -> bool {
    let status = request.status.as_ref();
    let decided = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let newest = decided.filter_map(|condition| condition.last_update_time.as_ref()).max();
    let made = request.metadata.creation_timestamp.as_ref();
    let (since, keep) = match newest {
        Some(at) => (Some(at), DECIDED),
        None => (made, PENDING),
    };
    since.is_some_and(|since| {
        let age = now.as_second() - since.0.as_second();
        u64::try_from(age).is_ok_and(|age| age > keep.as_secs())
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap_or_default()
    }

    fn request(signer: &str, conditions: &[&str]) -> CertificateSigningRequest {
        let mut status = CertificateSigningRequestStatus::default();
        for kind in conditions {
            add(&mut status, kind, "Test", "", at(0));
        }
        CertificateSigningRequest {
            metadata: ObjectMeta {
                name: Some("r".to_owned()),
                creation_timestamp: Some(Time(at(0))),
                ..ObjectMeta::default()
            },
            spec: CertificateSigningRequestSpec {
                signer_name: signer.to_owned(),
                ..CertificateSigningRequestSpec::default()
            },
            status: Some(status),
        }
    }

    fn written(request: CertificateSigningRequest, is_node: bool, now: i64) -> Option<String> {
        let sign: Box<Sign> = Box::new(|request| match request.spec.signer_name.as_str() {
            "example.org/other" => None,
            "kubernetes.io/kubelet-serving" => Some(Err("no names".to_owned())),
            _ => Some(Ok("PEM".to_owned())),
        });
        let writes = plan(&[Arc::new(request)], &move |_| is_node, &*sign, at(now));
        assert!(writes.len() < 2);
        writes.first().map(ToString::to_string)
    }

    #[test]
    fn nodes_are_approved_and_nobody_else() {
        let pending = || request(NODE_CLIENT, &[]);
        assert!(written(pending(), true, 1).is_some_and(|text| text.contains("\"AutoApproved\"")));
        assert_eq!(written(pending(), false, 1), None);
        assert_eq!(written(request("kubernetes.io/kube-apiserver-client", &[]), true, 1), None);
    }

    #[test]
    fn what_is_approved_is_signed_once() {
        let approved = request(NODE_CLIENT, &["Approved"]);
        let text = written(approved.clone(), true, 1).unwrap_or_default();
        assert!(text.starts_with("patch CertificateSigningRequest/status r"), "{text}");
        assert!(text.contains("\"certificate\":\"UEVN\""), "{text}");
        let mut signed = approved;
        signed.status.get_or_insert_default().certificate = Some(ByteString(b"PEM".to_vec()));
        assert_eq!(written(signed, true, 1), None);
        assert_eq!(written(request(NODE_CLIENT, &["Denied"]), true, 1), None);
        assert_eq!(written(request("example.org/other", &["Approved"]), true, 1), None);
    }

    #[test]
    fn what_cannot_be_signed_says_why() {
        let text = written(request("kubernetes.io/kubelet-serving", &["Approved"]), false, 1);
        assert!(text.is_some_and(
            |text| text.contains("\"SignerValidationFailure\"") && text.contains("no names")
        ));
    }

    #[test]
    fn old_requests_go() {
        let deleted = |text: Option<String>| text.is_some_and(|text| text.starts_with("delete"));
        assert!(deleted(written(request("example.org/other", &["Approved"]), false, 3_601)));
        assert!(!deleted(written(request("example.org/other", &["Approved"]), false, 3_599)));
        assert!(!deleted(written(request("example.org/other", &[]), false, 3_601)));
        assert!(deleted(written(request("example.org/other", &[]), false, 86_401)));
    }
}
