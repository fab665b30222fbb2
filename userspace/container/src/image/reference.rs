//! Image references in the one form they are compared in: `docker.io/library/hello:1`.
//! In: what people write. Out: registry, path and tag or digest, spelled out. Refuses what upstream's grammar refuses.

use super::{ImageError, Result};

const DEFAULT_DOMAIN: &str = "docker.io";

/// Spells a reference out as upstream does: `hello` becomes `docker.io/library/hello:latest`.
pub fn normalise(reference: &str) -> Result<String> {
    let refuse = |why| ImageError::Reference { reference: reference.to_owned(), why };
    let (named, digest) = match reference.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (reference, None),
    };
    let (domain, rest) = split_domain(named);
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    if !is_domain(domain) {
        return Err(refuse("invalid reference format"));
    }
    if !path.split('/').all(is_path_component) {
        let upper = path.bytes().any(|b| b.is_ascii_uppercase());
        return Err(refuse(if upper {
            "repository name must be lowercase"
        } else {
            "invalid reference format"
        }));
    }
    if !tag.is_none_or(is_tag) || !digest.is_none_or(is_digest) {
        return Err(refuse("invalid reference format"));
    }
    let library = if domain == DEFAULT_DOMAIN && !path.contains('/') { "library/" } else { "" };
    Ok(match digest {
        Some(digest) => format!("{domain}/{library}{path}@{digest}"),
        None => format!("{domain}/{library}{path}:{}", tag.unwrap_or("latest")),
    })
}

/// The first part is a registry only if it looks like one: a dot, a port, or `localhost`.
fn split_domain(named: &str) -> (&str, &str) {
    match named.split_once('/') {
        Some(("index.docker.io", rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DEFAULT_DOMAIN, named),
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.parse::<u16>().is_ok()
}

fn is_path_component(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
}

fn is_tag(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelled_out_like_upstream() {
        for (written, meant) in [
            ("hello", "docker.io/library/hello:latest"),
            ("hello:1", "docker.io/library/hello:1"),
            ("me/hello:1", "docker.io/me/hello:1"),
            ("index.docker.io/library/hello", "docker.io/library/hello:latest"),
            ("localhost/hello:1", "localhost/hello:1"),
            ("reg.example:5000/a/b", "reg.example:5000/a/b:latest"),
        ] {
            assert_eq!(normalise(written).unwrap(), meant);
            assert_eq!(normalise(meant).unwrap(), meant);
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            normalise(&format!("hello:1@{digest}")).unwrap(),
            format!("docker.io/library/hello@{digest}")
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in
            ["", "Hello", "a b", "hello:", "hello:a b", "../x", "hello@sha256:12", "/hello", "a//b"]
        {
            assert!(normalise(bad).is_err(), "{bad}");
        }
        assert!(normalise("Hello").unwrap_err().to_string().contains("must be lowercase"));
    }
}
