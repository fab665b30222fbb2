//! Formats against values made by others, wrong files, and what a cluster's store holds.

use std::sync::Arc;

use beeline_api::kinds::{CONFIG_MAP, DEPLOYMENT, SECRET};
use beeline_kit::Tasks;
use beeline_store::{Embedded, Memory, Store};
use serde_json::json;

use super::*;
use crate::{Caller, OpenError, Options, Patch, Registry, Target, WriteOptions};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER: &str = "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PLACE: &str = "/registry/secrets/default/s";

/// Secrets, by these providers in their order.
fn secrets(providers: &str) -> Encryption {
    Encryption::parse(&config(&format!("[{{resources: [secrets], providers: [{providers}]}}]")))
        .unwrap()
}

fn config(resources: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: {resources}"
    )
}

fn keyed(provider: &str, name: &str, secret: &str) -> String {
    format!("{provider}: {{keys: [{{name: {name}, secret: {secret}}}]}}")
}

fn one(provider: &str, name: &str, secret: &str) -> String {
    format!("{{{}}}", keyed(provider, name, secret))
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

fn value(prefix: &str, hex: &str) -> Bytes {
    [prefix.as_bytes(), &from_hex(hex)].concat().into()
}

#[test]
fn values_of_other_implementations_are_read() {
    let text = Bytes::from_static(br#"{"kind":"Secret"}"#);
    // Made with OpenSSL, the nonce and the first block being bytes from 100 and from 200 on.
    let gcm = value(
        "k8s:enc:aesgcm:v1:k1:",
        "6465666768696a6b6c6d6e6f3339b50f178d74a41c313a8ba8001edf3f500b37f9deafe01534555041e9170334",
    );
    let cbc = value(
        "k8s:enc:aescbc:v1:k1:",
        "c8c9cacbcccdcecfd0d1d2d3d4d5d6d707d16fe6735d98b78b6abb88e36de898dd1f5563787ad0b13cd77558fa8eee52",
    );
    for (provider, sealed) in [("aesgcm", gcm), ("aescbc", cbc)] {
        let by = secrets(&one(provider, "k1", KEY));
        assert_eq!(unseal(Some(&by), &SECRET, PLACE, &sealed), Ok(text.clone()), "{provider}");
    }
}

#[test]
fn nacls_own_example_is_read() {
    let key = from_hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
    let nonce = "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37";
    let sealed = "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5";
    let text = "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705";
    let by = Provider::new(provider::Cipher::Secretbox, "k", &key).unwrap();
    let sealed = value("k8s:enc:secretbox:v1:k:", &format!("{nonce}{sealed}"));
    assert_eq!(by.unseal(PLACE, &sealed), Some(from_hex(text)));
}

#[test]
fn every_provider_reads_what_it_writes_and_nothing_else() {
    let text = Bytes::from_static(br#"{"data":"hidden in here"}"#);
    let sizes = [
        ("aesgcm", "k", "AAECAwQFBgcICQoLDA0ODw=="),
        ("aescbc", "k", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"),
    ];
    for (provider, name, secret) in
        [("aesgcm", "k", KEY), ("aescbc", "k", KEY), ("secretbox", "k", KEY)]
            .into_iter()
            .chain(sizes)
    {
        let by = secrets(&one(provider, name, secret));
        let sealed = seal(Some(&by), &SECRET, PLACE, &text).unwrap();
        assert!(sealed.starts_with(format!("k8s:enc:{provider}:v1:{name}:").as_bytes()));
        assert!(!sealed.windows(6).any(|part| part == b"hidden"));
        assert_ne!(sealed, seal(Some(&by), &SECRET, PLACE, &text).unwrap(), "a nonce came twice");
        assert_eq!(unseal(Some(&by), &SECRET, PLACE, &sealed), Ok(text.clone()));
        for cut in [sealed.len() - 1, format!("k8s:enc:{provider}:v1:{name}:").len() + 3] {
            let short = sealed.slice(..cut);
            let why = unseal(Some(&by), &SECRET, PLACE, &short);
            assert!(why.is_err_and(|why| why.contains("does not open")), "{provider} {cut}");
        }
        if provider != "aescbc" {
            let other = secrets(&one(provider, name, &secret.replacen('A', "B", 1)));
            let why = unseal(Some(&other), &SECRET, PLACE, &sealed).unwrap_err();
            assert!(why.contains(&format!("provider {provider}, key {name} and does not open")));
        }
    }
    // A value that was moved to another name.
    let by = secrets(&one("aesgcm", "k", KEY));
    let sealed = seal(Some(&by), &SECRET, PLACE, &text).unwrap();
    assert!(unseal(Some(&by), &SECRET, "/registry/secrets/default/t", &sealed).is_err());
}

#[test]
fn what_is_missing_is_said() {
    let text = Bytes::from_static(b"{}");
    let k1 = secrets(&one("aesgcm", "k1", KEY));
    let sealed = seal(Some(&k1), &SECRET, PLACE, &text).unwrap();
    let k2 = secrets(&one("aesgcm", "k2", KEY));
    for by in [None, Some(&k2)] {
        let why = unseal(by, &SECRET, PLACE, &sealed).unwrap_err();
        assert!(why.contains("provider aesgcm, key k1") && why.contains("--encryption-config"));
    }
    let why = unseal(Some(&k1), &SECRET, PLACE, &text).unwrap_err();
    assert!(why.contains("add `identity: {}`"), "{why}");
    assert_eq!(unseal(Some(&k1), &CONFIG_MAP, PLACE, &text), Ok(text.clone()));
}

#[test]
fn rules_name_kinds_with_stars_too_and_the_first_decides() {
    let rule = |resources: &str, name: &str| {
        format!("{{resources: {resources}, providers: [{}]}}", one("aesgcm", name, KEY))
    };
    let rules = [
        rule("[secrets]", "one"),
        rule("['*.apps']", "two"),
        rule("['*.']", "three"),
        rule("['*.*']", "four"),
    ];
    let by = Encryption::parse(&config(&format!("[{}]", rules.join(",")))).unwrap();
    let lease = &beeline_api::kinds::LEASE;
    for (kind, name) in
        [(&SECRET, "one"), (&DEPLOYMENT, "two"), (&CONFIG_MAP, "three"), (lease, "four")]
    {
        let sealed = seal(Some(&by), kind, "/k", &Bytes::from_static(b"{}")).unwrap();
        assert!(sealed.starts_with(format!("k8s:enc:aesgcm:v1:{name}:").as_bytes()), "{name}");
    }
}

#[test]
fn a_wrong_file_is_told_where_and_never_shows_a_secret() {
    let with =
        |providers: &str| config(&format!("[{{resources: [secrets], providers: [{providers}]}}]"));
    let table = [
        ("kind: X".to_owned(), "apiVersion"),
        (config("[]").replace("/v1", "/v2"), "give apiVersion apiserver.config.k8s.io/v1"),
        (config("[]"), "name at least secrets"),
        (config("[{resources: [], providers: [{identity: {}}]}]"), "resources[0].resources"),
        (config("[{resources: ['*'], providers: [{identity: {}}]}]"), "`*.` for the core group"),
        (with(""), "resources[0].providers: there are none"),
        (with("{kms: {}}"), "not supported"),
        (with("{aes: {}}"), "resources[0].providers[0]: \"aes\" is no provider"),
        (with("{aesgcm: {}, identity: {}}"), "exactly one provider"),
        (with("{aesgcm: {keys: []}}"), "keys: there are none"),
        (with(&one("aesgcm", "'a:b'", KEY)), "have a colon"),
        (with(&one("aesgcm", "k", "'c2VjcmV0IQ'")), "it must be base64"),
        (with(&one("aesgcm", "k", "c2VjcmV0ISE=")), "it has 8 bytes: give 16 or 32"),
        (with("{aesgcm: {keys: [{name: k, secret: [hidden]}]}}"), "each with a name and a secret"),
        (with(&one("secretbox", "k", "AAECAwQFBgcICQoLDA0ODw==")), "16 bytes: give 32"),
    ];
    for (text, word) in table {
        let why = Encryption::parse(&text).unwrap_err();
        assert!(why.contains(word), "{word:?} is not in {why}");
        assert!(!["c2Vj", "hidden", "AAEC"].iter().any(|secret| why.contains(secret)), "{why}");
    }
}

struct Cluster {
    registry: Registry,
    caller: Caller,
    tasks: Tasks,
}

impl Cluster {
    async fn open(store: Arc<dyn Store>, by: Option<Encryption>) -> Result<Self, OpenError> {
        let tasks = Tasks::new();
        let options = Options { encryption: by.map(Arc::new), ..Options::default() };
        let registry = Registry::open(store, options, &tasks).await?;
        Ok(Self { registry, caller: Caller::system("test"), tasks })
    }

    async fn create(&self, name: &str) {
        let target = Target::collection(&SECRET, Some("default"));
        let body = json!({ "metadata": { "name": name }, "stringData": { "k": "hidden-in-here" } });
        self.registry.create(&self.caller, &target, body, &WriteOptions::default()).await.unwrap();
    }

    async fn read(&self, name: &str) -> String {
        let target = Target::object(&SECRET, Some("default"), name);
        let got = self.registry.get(&self.caller, &target).await.unwrap();
        got.value["data"]["k"].as_str().unwrap().to_owned()
    }

    /// A write that changes nothing.
    async fn touch(&self, name: &str) {
        let target = Target::object(&SECRET, Some("default"), name);
        let patch = Patch::Merge(json!({}));
        self.registry.patch(&self.caller, &target, patch, &WriteOptions::default()).await.unwrap();
    }

    async fn end(self) {
        self.tasks.stop(std::time::Duration::from_secs(5)).await;
    }
}

/// What `k` is in base64.
const HIDDEN: &str = "aGlkZGVuLWluLWhlcmU=";

async fn stored(store: &dyn Store, name: &str) -> String {
    let entry = store.get(&format!("/registry/secrets/default/{name}")).await.unwrap().unwrap();
    String::from_utf8_lossy(&entry.value).into_owned()
}

#[tokio::test]
async fn keys_are_rotated_by_writes_that_change_nothing() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let plain = Cluster::open(Arc::clone(&store), None).await.unwrap();
    plain.create("s").await;
    plain.end().await;
    assert!(stored(&*store, "s").await.contains(HIDDEN));
    let (k1, k2) = (one("aesgcm", "k1", KEY), one("secretbox", "k2", OTHER));
    let steps = [
        (format!("{k1}, {{identity: {{}}}}"), "k8s:enc:aesgcm:v1:k1:"),
        (format!("{k2}, {k1}"), "k8s:enc:secretbox:v1:k2:"),
        (format!("{{identity: {{}}}}, {k2}"), "{"),
    ];
    for (providers, prefix) in steps {
        let cluster = Cluster::open(Arc::clone(&store), Some(secrets(&providers))).await.unwrap();
        assert_eq!(cluster.read("s").await, HIDDEN);
        let before = stored(&*store, "s").await;
        assert!(!before.starts_with(prefix), "it was rewritten by reading alone");
        cluster.touch("s").await;
        let after = stored(&*store, "s").await;
        assert!(after.starts_with(prefix), "{after}");
        assert_eq!(cluster.read("s").await, HIDDEN);
        // What is written by the first provider is left alone.
        cluster.touch("s").await;
        assert_eq!(stored(&*store, "s").await, after);
        cluster.end().await;
    }
}

#[tokio::test]
async fn the_start_is_refused_with_the_objects_name_when_its_key_is_gone() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let by = secrets(&one("aesgcm", "k1", KEY));
    let cluster = Cluster::open(Arc::clone(&store), Some(by)).await.unwrap();
    cluster.create("s").await;
    cluster.end().await;
    for by in [None, Some(secrets(&one("aesgcm", "k1", OTHER)))] {
        let refused = Cluster::open(Arc::clone(&store), by).await.err().unwrap().to_string();
        assert!(refused.contains("/registry/secrets/default/s"), "{refused}");
        assert!(refused.contains("provider aesgcm, key k1"), "{refused}");
    }
}

#[tokio::test]
async fn the_disk_and_saved_files_do_not_hold_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let tasks = Tasks::new();
    let open = async |tasks: &Tasks| {
        Embedded::open(&path, beeline_store::Options::default(), tasks).await.unwrap()
    };
    let by = || secrets(&one("aesgcm", "k1", KEY));
    let store = open(&tasks).await;
    let cluster = Cluster::open(store.clone(), Some(by())).await.unwrap();
    cluster.create("s").await;
    let saved = folder.path().join("saved");
    beeline_store::backup::save(&*store, &saved, &mut |_| ()).await.unwrap();
    cluster.end().await;
    store.close().await;
    drop(store);
    tasks.stop(std::time::Duration::from_secs(5)).await;
    let mut looked_at = 0;
    let mut folders = vec![folder.path().to_owned()];
    while let Some(one) = folders.pop() {
        for entry in std::fs::read_dir(one).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let bytes = std::fs::read(&entry).unwrap();
            let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
            assert!(!holds(HIDDEN) && !holds("hidden-in-here"), "{}", entry.display());
            looked_at += usize::from(holds("k8s:enc:aesgcm:v1:k1:"));
        }
    }
    assert!(looked_at >= 2, "neither the log nor the saved file has the value");
    let tasks = Tasks::new();
    let store = open(&tasks).await;
    let cluster = Cluster::open(store.clone(), Some(by())).await.unwrap();
    assert_eq!(cluster.read("s").await, HIDDEN);
    cluster.end().await;
    store.close().await;
}
