//! Members of etcd that are killed under load, that are not there, and that ask for certificates.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use beeline_kit::Tasks;
use beeline_store::{Change, Etcd, EtcdOptions, EtcdTls, Revision, Store, StoreError, Watch};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::sync::mpsc;

#[path = "support/etcd.rs"]
mod etcd;
use etcd::{Member, Secure};

/// Reads on until a revision has been seen.
async fn until(watch: &mut Watch, last: Revision) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    while changes.last().is_none_or(|change| change.revision() < last) {
        let batch = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
        changes.extend(batch.expect("the watch goes on").unwrap());
    }
    changes
}

/// Writes until told to stop, and reports what was acknowledged.
async fn write(
    store: Arc<Etcd>,
    writer: u32,
    stop: Arc<AtomicBool>,
    acknowledged: mpsc::Sender<(String, Revision)>,
) {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let key = format!("/{writer}/{n}");
        match store.create(&key, "x".into()).await {
            Ok(revision) => acknowledged.send((key, revision)).await.unwrap(),
            // It may be there or not: the next key is another.
            Err(StoreError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_three_is_killed_under_load() {
    let mut members = Member::cluster(3).await;
    let tasks = Tasks::new();
    let urls = members.iter().map(Member::url).collect();
    // The watch is read at the end.
    let options = EtcdOptions { watch_queue: 1 << 16, ..EtcdOptions::new(urls) };
    let store = Etcd::connect(options, &tasks).await.unwrap();
    let start = store.revision();
    let mut watch = store.watch("/", start).await.unwrap();
    let (sender, mut receiver) = mpsc::channel(1 << 16);
    let stop = Arc::new(AtomicBool::new(false));
    for writer in 0..4 {
        let work = write(Arc::clone(&store), writer, Arc::clone(&stop), sender.clone());
        tasks.spawn("writer", work);
    }
    drop(sender);
    // Each in turn, so the leader too.
    for member in &mut members {
        tokio::time::sleep(Duration::from_millis(300)).await;
        member.restart().await;
        let probe = tokio::time::timeout(Duration::from_secs(30), async {
            while store.get("/probe").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        probe.await.expect("another member answers");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeMap::new();
    while let Some((key, revision)) = receiver.recv().await {
        acknowledged.insert(key, revision);
    }
    assert!(acknowledged.len() > 100, "{} writes prove little", acknowledged.len());
    let (entries, revision) = store.range("").await.unwrap();
    let held: BTreeMap<_, _> =
        entries.iter().map(|entry| (entry.key.to_string(), entry.mod_revision)).collect();
    for (key, at) in &acknowledged {
        assert_eq!(held.get(key), Some(at), "{key} was acknowledged");
    }
    // The watch has gone on, each revision once and in order.
    let changes = until(&mut watch, revision).await;
    let seen: Vec<u64> = changes.iter().map(|change| change.revision().0).collect();
    assert_eq!(seen, (start.0 + 1..=revision.0).collect::<Vec<_>>());
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_when_etcd_comes_back() {
    let mut member = Member::start().await;
    let tasks = Tasks::new();
    let store = Etcd::connect(EtcdOptions::new(vec![member.url()]), &tasks).await.unwrap();
    let first = store.create("/a", "1".into()).await.unwrap();
    let mut watch = store.watch("/", first).await.unwrap();
    member.stop();
    let refused = store.update("/a", "2".into(), first).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    member.restart().await;
    let second = loop {
        match store.update("/a", "3".into(), first).await {
            Ok(revision) => break revision,
            Err(StoreError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    let changes = until(&mut watch, second).await;
    assert_eq!((changes.len(), changes[0].revision()), (1, second));
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_not_there_is_named() {
    let mut member = Member::start().await;
    member.stop();
    let options = EtcdOptions::new(vec![member.url()]);
    let tasks = Tasks::new();
    let refused = Etcd::connect(options, &tasks).await.unwrap_err().to_string();
    assert!(refused.contains(&member.url()), "{refused}");
}

/// A certificate for 127.0.0.1, and its key.
fn certified(issuer: &Issuer<'_, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_asked_for_and_shown() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = certified(&issuer);
    let member = Member::start_secure(Secure {
        ca: file("ca.pem", &ca),
        certificate: file("member.pem", &certificate),
        key: file("member.key", &key),
    });
    let member = member.await;
    let (certificate, key) = certified(&issuer);
    let with = |identity| {
        let tls = EtcdTls { ca: ca.clone().into_bytes(), identity };
        EtcdOptions { tls: Some(tls), ..EtcdOptions::new(vec![member.url()]) }
    };
    let tasks = Tasks::new();
    let identity = Some((certificate.into_bytes(), key.into_bytes()));
    let store = Etcd::connect(with(identity), &tasks).await.unwrap();
    let first = store.create("/a", "1".into()).await.unwrap();
    let mut watch = store.watch("/", Revision(first.0 - 1)).await.unwrap();
    assert_eq!(watch.next().await.unwrap()[0].revision(), first);
    let refused = Etcd::connect(with(None), &tasks).await.unwrap_err().to_string();
    assert!(refused.contains(&member.url()), "{refused}");
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_at_a_time_holds_it() {
    let member = Member::start().await;
    let (first_tasks, second_tasks) = (Tasks::new(), Tasks::new());
    let connect = async |tasks: &Tasks, hold: u64| {
        let hold = Duration::from_secs(hold);
        let options = EtcdOptions { hold, ..EtcdOptions::new(vec![member.url()]) };
        Etcd::connect(options, tasks).await.unwrap()
    };
    let first = connect(&first_tasks, 5).await;
    first.hold("first").await.unwrap();
    let at = first.create("/a", "1".into()).await.unwrap();
    let second = connect(&second_tasks, 5).await;
    let waiting = tokio::time::timeout(Duration::from_secs(6), second.hold("second")).await;
    waiting.expect_err("the first renews its hold");
    let at = first.update("/a", "2".into(), at).await.unwrap();
    // It is gone without a word: the member that it spoke to no longer hears from it.
    let silent = etcd_client::Client::connect([member.url()], None).await.unwrap();
    silent.kv_client().delete("beeline/server", None).await.unwrap();
    second.hold("second").await.unwrap();
    let written = second.update("/a", "3".into(), at).await.unwrap();
    for refused in
        [first.update("/a", "4".into(), written).await, first.create("/b", "".into()).await]
    {
        assert!(matches!(refused, Err(StoreError::Failed { .. })), "{refused:?}");
    }
    assert!(matches!(first.fatal().await, StoreError::Failed { .. }));
    assert_eq!(second.get("/a").await.unwrap().unwrap().mod_revision, written);
    // A clean end gives it up at once.
    second_tasks.stop(Duration::from_secs(5)).await;
    let third_tasks = Tasks::new();
    let third = connect(&third_tasks, 60).await;
    tokio::time::timeout(Duration::from_secs(5), third.hold("third")).await.unwrap().unwrap();
    first_tasks.stop(Duration::from_secs(5)).await;
    third_tasks.stop(Duration::from_secs(5)).await;
}
