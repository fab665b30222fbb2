//! Who asks: by a verified certificate, whose common name is the user and whose organizations are the groups, or by a token.

use std::collections::BTreeMap;

use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::AuthError;

/// A user and the groups it is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// As in upstream: `kubernetes-admin`, `system:node:NAME`.
    pub user: String,
    /// As in upstream: `system:masters`, `system:nodes`.
    pub groups: Vec<String>,
    /// Of the account behind a token; empty where there is none.
    pub uid: String,
    /// What else is known, such as the Pod that a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
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
        Ok(Self { user, groups, ..Self::default() })
    }

    /// A user by name, in these groups.
    #[must_use]
    pub fn new<'a>(user: &str, groups: impl IntoIterator<Item = &'a str>) -> Self {
        let groups = groups.into_iter().map(str::to_owned).collect();
        Self { user: user.to_owned(), groups, ..Self::default() }
    }

    /// A caller without a certificate.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new("system:anonymous", ["system:unauthenticated"])
    }

    /// The node this is, if it is one.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        let is_node = self.groups.iter().any(|group| group == "system:nodes");
        self.user.strip_prefix("system:node:").filter(|_| is_node)
    }
}
