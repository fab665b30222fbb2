//! Tokens of service accounts for this node's Pods.
//!
//! In: requests. Out: the server's answer, asked for on the line that is up, or that comes up in time.

use std::time::Duration;

use beeline_proto::feed::{TokenRequest, TokenResponse};
use tokio::sync::watch;

use crate::line::Client;

/// How long a request may take, the wait for the line included. Whoever asks tries again.
const WAIT: Duration = Duration::from_secs(10);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The line is down.
    #[error("no line to the server")]
    NoLine,
    /// The server says no, or could not be asked.
    #[error("{0}")]
    Refused(String),
}

/// Asks once.
pub(crate) async fn ask(
    mut clients: watch::Receiver<Option<Client>>,
    request: TokenRequest,
) -> Result<TokenResponse, TokenError> {
    let asked = async {
        let client = clients.wait_for(Option::is_some).await;
        let client = client.ok().and_then(|client| client.clone());
        let mut client = client.ok_or(TokenError::NoLine)?;
        let answer = client.issue_token(request).await;
        answer.map_err(|status| TokenError::Refused(status.message().to_owned()))
    };
    let answer = tokio::time::timeout(WAIT, asked).await.map_err(|_| TokenError::NoLine)??;
    Ok(answer.into_inner())
}
