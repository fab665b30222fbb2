//! `/healthz`, `/livez`, `/readyz`: ok, or which check fails.

use std::fmt::Write as _;

use http::StatusCode;

use crate::answer::{self, Answer};
use crate::app::App;

/// Answers one of the three. Liveness looks at the process alone, readiness at every check.
pub(crate) fn answer(app: &App, endpoint: &str, only: Option<&str>, verbose: bool) -> Answer {
    let mut results = vec![("ping", true)];
    if endpoint != "livez" {
        results.extend(app.options.checks.iter().map(|check| (check.name, (check.holds)())));
        results.push(("shutdown", !app.leaving.is_cancelled()));
    }
    if let Some(only) = only {
        results.retain(|(name, _)| *name == only);
        if results.is_empty() {
            return answer::page_not_found();
        }
    }
    let healthy = results.iter().all(|(_, holds)| *holds);
    if healthy && !verbose {
        return answer::text(StatusCode::OK, "ok");
    }
    let mut text = String::new();
    for (name, holds) in &results {
        let _ = match holds {
            true => writeln!(text, "[+]{name} ok"),
            false => writeln!(text, "[-]{name} failed: not ready"),
        };
    }
    let _ = writeln!(text, "{endpoint} check {}", if healthy { "passed" } else { "failed" });
    let code = if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    answer::text(code, text)
}
