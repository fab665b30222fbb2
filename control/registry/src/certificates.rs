//! Who may ask for which certificate, and who may approve: checked when requests and approvals are written.
//!
//! As upstream's admission plugins CertificateSubjectRestriction and CertificateApproval.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beeline_api::kinds::CERTIFICATE_SIGNING_REQUEST;
use beeline_api::meta::{self, text};
use beeline_api::{ApiError, KindInfo};
use beeline_auth::{Attributes, Authorizer as _, Target as Wanted};
use serde_json::Value;

use crate::options::{Caller, Subresource, Target};
use crate::roles::Access;

const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const ADMINISTRATORS: &str = "system:masters";

/// Nobody becomes an administrator by a certificate of this signer, whoever approves.
pub(crate) fn check_new(kind: &KindInfo, new: &Value) -> Result<(), ApiError> {
    if kind != &CERTIFICATE_SIGNING_REQUEST || text(&new["spec"], "signerName") != API_CLIENT {
        return Ok(());
    }
    let pem = request_pem(new);
    let subject = beeline_auth::request::subject(&pem);
    if subject.is_ok_and(|subject| subject.groups.iter().any(|group| group == ADMINISTRATORS)) {
        let why = format!("use of {API_CLIENT} signer with {ADMINISTRATORS} group is not allowed");
        return Err(ApiError::forbidden(kind, meta::name(new), &why));
    }
    Ok(())
}

/// The PEM in a stored request; empty if it is no text.
pub(crate) fn request_pem(request: &Value) -> String {
    let bytes = STANDARD.decode(text(&request["spec"], "request")).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// Approving needs the verb `approve` on the signer, by its name or by its domain.
pub(crate) fn check_approval(
    access: &Access,
    caller: &Caller,
    target: &Target,
    old: &Value,
) -> Result<(), ApiError> {
    if target.subresource != Some(Subresource::Approval) {
        return Ok(());
    }
    let signer = text(&old["spec"], "signerName");
    let domain = signer.split('/').next().unwrap_or_default();
    let may = |name: &str| {
        let target = Wanted::Resource {
            group: CERTIFICATE_SIGNING_REQUEST.group,
            resource: "signers",
            subresource: "",
            namespace: "",
            name,
        };
        let wanted = Attributes::new("approve", target);
        access.allows(&caller.user, &caller.groups, &wanted)
    };
    if may(signer) || may(&format!("{domain}/*")) {
        return Ok(());
    }
    let why = format!("user not permitted to approve requests with signerName \"{signer}\"");
    Err(ApiError::forbidden(target.kind, meta::name(old), &why))
}
