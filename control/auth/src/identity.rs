//! Who a verified certificate speaks for: its common name is the user, its organizations are the groups.

use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::AuthError;

/// A user and the groups it is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// As in upstream: `kubernetes-admin`, `system:node:NAME`.
    pub user: String,
    /// As in upstream: `system:masters`, `system:nodes`.
    pub groups: Vec<String>,
}

impl Identity {
    /// Reads a certificate (DER) that TLS has verified already.
    pub fn from_certificate(der: &[u8]) -> Result<Self, AuthError> {
        let refused = |reason: String| AuthError::Certificate(reason);
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| refused(error.to_string()))?;
        let subject = certificate.subject();
        let text = |value: Result<&str, _>| {
            value.map(str::to_owned).map_err(|_| refused("a name is no text".into()))
        };
        let mut users = subject.iter_common_name().map(|name| text(name.as_str()));
        let user = users.next().ok_or_else(|| refused("no common name".into()))??;
        if users.next().is_some() || user.is_empty() {
            return Err(refused("it must have one common name".into()));
        }
        let groups = subject
            .iter_organization()
            .map(|name| text(name.as_str()))
            .collect::<Result<Vec<_>, _>>()?;
        if groups.iter().any(|group| group == crate::IN_PROCESS_GROUP) {
            return Err(refused("its group is for callers in the server itself".into()));
        }
        Ok(Self { user, groups })
    }

    /// A caller without a certificate.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { user: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()] }
    }

    /// The node this is, if it is one.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        let is_node = self.groups.iter().any(|group| group == "system:nodes");
        self.user.strip_prefix("system:node:").filter(|_| is_node)
    }
}
