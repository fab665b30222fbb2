//! Where log lines go.
//!
//! In: a format and a filter. Out: a process-wide subscriber that writes to stderr; stdout belongs to results.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What logs errors of its own about things that the store, which knows what they mean, tells anyway.
const QUIET: &str = "sled=off";

/// Whether a filter can be understood; else why not.
pub fn check(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| error.to_string())
}

/// Installs the process-wide subscriber. `filter` is in `tracing`'s syntax (`info,beeline_store=debug`);
/// the variable `BEELINE_LOG` wins over it. A second call changes nothing. A filter that cannot be parsed becomes `info`.
pub fn init(format: LogFormat, filter: &str) {
    let wanted = std::env::var("BEELINE_LOG").unwrap_or_else(|_| filter.to_owned());
    let (filter, refused) = match EnvFilter::try_new(format!("{QUIET},{wanted}")) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_timer(SystemTime);
    // An error means that a subscriber is there already, which is the wanted state.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if let Some(error) = refused {
        tracing::warn!(filter = wanted, %error, "log filter not understood, using info");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_and_with_a_bad_filter_is_harmless() {
        assert!(check("=not=a=filter=").is_err() && check("info,sled=warn").is_ok());
        init(LogFormat::Json, "=not=a=filter=");
        init(LogFormat::Text, "info");
        tracing::debug!("filtered");
    }
}
