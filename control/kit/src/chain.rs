//! An error as one line for a person: what was tried, then each cause that has not been told yet.

use std::error::Error;

/// The error and its causes, joined by colons. A cause that an error's own text contains already is not told twice.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        next = cause.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fmt, io};

    use super::chain;

    #[derive(Debug)]
    struct Step(&'static str, Option<Box<dyn Error + 'static>>);

    impl fmt::Display for Step {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Step {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref()
        }
    }

    #[test]
    fn every_cause_is_told_once() {
        let cause = io::Error::from(io::ErrorKind::NotFound);
        let inner = Step("open /a: entity not found", Some(cause.into()));
        let outer = Step("start", Some(inner.into()));
        assert_eq!(chain(&outer), "start: open /a: entity not found");
    }
}
