//! What kubectl needs, in one self-contained file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Certified;

/// A kubeconfig with one cluster, one user and one context named `beeline`; all data embedded.
#[must_use]
pub fn kubeconfig(server_url: &str, ca_pem: &str, user: &str, certified: &Certified) -> String {
    let ca = STANDARD.encode(ca_pem);
    let certificate = STANDARD.encode(&certified.certificate_pem);
    let key = STANDARD.encode(&certified.key_pem);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: beeline
  cluster:
    server: {server_url}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: beeline
  context:
    cluster: beeline
    user: {user}
current-context: beeline
preferences: {{}}
"
    )
}
