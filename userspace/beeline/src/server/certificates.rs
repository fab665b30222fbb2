//! The cluster's authority as the controller of certificate requests needs it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use beeline_auth::{
    Authority,
    request::{self, Asked, Signer},
};
use beeline_controllers::certificates;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

/// Reads requests, and signs those of Kubernetes' own signers.
pub fn authority(authority: &Arc<Authority>) -> certificates::Authority {
    let authority = Arc::clone(authority);
    certificates::Authority {
        user_of: Arc::new(|request| {
            request::subject(pem(request)?).ok().map(|subject| subject.user)
        }),
        sign: Arc::new(move |request| {
            let signer = Signer::parse(&request.spec.signer_name)?;
            Some(sign(&authority, signer, request))
        }),
    }
}

fn sign(
    authority: &Authority,
    signer: Signer,
    request: &CertificateSigningRequest,
) -> Result<String, String> {
    let seconds = request.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let asked = Asked {
        pem: pem(request).ok_or("the request is no text")?,
        signer,
        usages: request.spec.usages.iter().flatten().map(String::as_str).collect(),
        lifetime: seconds.map(Duration::from_secs),
    };
    authority.sign_request(&asked, SystemTime::now()).map_err(|error| error.to_string())
}

fn pem(request: &CertificateSigningRequest) -> Option<&str> {
    std::str::from_utf8(&request.spec.request.0).ok()
}
