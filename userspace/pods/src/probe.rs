//! Probes of one running container: HTTP and TCP, asked by the node of the Pod's address.
//!
//! In: what to ask and how often. Out: conclusions, once thresholds are reached and only when they change, except that
//! every failure that counts is told. Refuses exec and gRPC probes: they are not run.

use std::{net::Ipv4Addr, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::lifecycle::ProbeKind;

/// Enough for a status line and headers; the body does not matter.
const ANSWER_MAX_BYTES: usize = 4096;

/// One probe, ready to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What it is for.
    pub kind: ProbeKind,
    target: Target,
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    successes: u32,
    failures: u32,
}

#[derive(Clone, Debug, PartialEq)]
enum Target {
    Http { host: String, port: u16, path: String, headers: Vec<(String, String)> },
    Tcp { host: String, port: u16 },
}

/// The probes of a container that are run.
#[must_use]
pub fn plans(container: &Container, address: Ipv4Addr) -> Vec<Plan> {
    [
        (ProbeKind::Startup, &container.startup_probe),
        (ProbeKind::Readiness, &container.readiness_probe),
        (ProbeKind::Liveness, &container.liveness_probe),
    ]
    .into_iter()
    .filter_map(|(kind, probe)| plan(kind, probe.as_ref()?, container, address))
    .collect()
}

fn plan(kind: ProbeKind, probe: &Probe, container: &Container, address: Ipv4Addr) -> Option<Plan> {
    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
    };
    let count = |value: Option<i32>, default: u32| {
        value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default).max(1)
    };
    Some(Plan {
        kind,
        target: target(probe, container, address)?,
        initial_delay: seconds(probe.initial_delay_seconds, 0),
        period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
        timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
        successes: count(probe.success_threshold, 1),
        failures: count(probe.failure_threshold, 3),
    })
}

fn target(probe: &Probe, container: &Container, address: Ipv4Addr) -> Option<Target> {
    let host = |host: &Option<String>| host.clone().unwrap_or_else(|| address.to_string());
    if let Some(http) = &probe.http_get {
        if http.scheme.as_deref() == Some("HTTPS") {
            // Without a certificate to check, an open port is all that can be asked here.
            return Some(Target::Tcp {
                host: host(&http.host),
                port: port(&http.port, container)?,
            });
        }
        return Some(Target::Http {
            host: host(&http.host),
            port: port(&http.port, container)?,
            path: path(http),
            headers: headers(http),
        });
    }
    let tcp = probe.tcp_socket.as_ref()?;
    Some(Target::Tcp { host: host(&tcp.host), port: port(&tcp.port, container)? })
}

fn path(http: &HTTPGetAction) -> String {
    let path = http.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Line breaks would let a header become a second request.
fn headers(http: &HTTPGetAction) -> Vec<(String, String)> {
    let clean = |text: &str| text.replace(['\r', '\n'], " ");
    let headers = http.http_headers.iter().flatten();
    headers.map(|header| (clean(&header.name), clean(&header.value))).collect()
}

fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let named =
                container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            named
                .and_then(|port| u16::try_from(port.container_port).ok())
                .or_else(|| name.parse().ok())
        }
    }
}

/// Ask until dropped, or until nobody listens. A conclusion is `None` for good and the failure for bad; `wrap` makes it a
/// message. A startup probe ends with its first good conclusion.
pub async fn run<T>(plan: Plan, conclusions: mpsc::Sender<T>, wrap: impl Fn(Option<String>) -> T) {
    sleep(plan.initial_delay).await;
    let (mut good, mut bad) = (0_u32, 0_u32);
    loop {
        match ask(&plan).await {
            Ok(()) => {
                (good, bad) = (good.saturating_add(1), 0);
                if good == plan.successes {
                    let heard = conclusions.send(wrap(None)).await.is_ok();
                    if !heard || plan.kind == ProbeKind::Startup {
                        return;
                    }
                }
            }
            Err(failure) => {
                (good, bad) = (0, bad.saturating_add(1));
                if bad.is_multiple_of(plan.failures)
                    && conclusions.send(wrap(Some(failure))).await.is_err()
                {
                    return;
                }
            }
        }
        sleep(plan.period).await;
    }
}

async fn ask(plan: &Plan) -> Result<(), String> {
    let answer = async {
        match &plan.target {
            Target::Tcp { host, port } => {
                let connected = TcpStream::connect((host.as_str(), *port)).await;
                connected.map(drop).map_err(|error| format!("dial tcp {host}:{port}: {error}"))
            }
            Target::Http { host, port, path, headers } => {
                http_get(host, *port, path, headers).await
            }
        }
    };
    let late = |_| match &plan.target {
        Target::Http { host, port, path, .. } => {
            format!("Get \"http://{host}:{port}{path}\": context deadline exceeded")
        }
        Target::Tcp { host, port } => format!("dial tcp {host}:{port}: i/o timeout"),
    };
    timeout(plan.timeout, answer).await.map_err(late)?
}

async fn http_get(
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> Result<(), String> {
    let url = format!("http://{host}:{port}{path}");
    let fail = |error: std::io::Error| format!("Get \"{url}\": dial tcp {host}:{port}: {error}");
    let named = |name: &str| headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\nAccept: */*\r\n");
    if !named("host") {
        request.push_str(&format!("Host: {host}:{port}\r\n"));
    }
    if !named("user-agent") {
        request.push_str("User-Agent: kube-probe/1.36\r\n");
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect((host, port)).await.map_err(fail)?;
    stream.write_all(request.as_bytes()).await.map_err(fail)?;
    let mut answer = Vec::with_capacity(256);
    while answer.len() < ANSWER_MAX_BYTES && !answer.contains(&b'\n') {
        if stream.read_buf(&mut answer).await.map_err(fail)? == 0 {
            break;
        }
    }
    match status(&answer) {
        Some(200..400) => Ok(()),
        Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
        None => Err(format!("Get \"{url}\": malformed HTTP response")),
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "called with literals")]
    fn container(probe: serde_json::Value) -> Container {
        serde_json::from_value(json!({
            "name": "c", "ports": [{"name": "web", "containerPort": 8080}], "readinessProbe": probe
        }))
        .unwrap()
    }

    async fn answer(text: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        let container = container(json!({"httpGet": {"port": port, "path": "healthz"}}));
        let plan = plans(&container, Ipv4Addr::LOCALHOST).remove(0);
        let (request, outcome) = tokio::join!(serve, ask(&plan));
        assert!(
            request.starts_with("GET /healthz HTTP/1.1\r\n") && request.contains("kube-probe"),
            "{request}"
        );
        outcome
    }

    #[tokio::test]
    async fn http_answers_are_judged_by_their_status() {
        assert_eq!(answer("HTTP/1.1 200 OK\r\n\r\nfine").await, Ok(()));
        assert_eq!(answer("HTTP/1.0 302 Found\r\n\r\n").await, Ok(()));
        assert_eq!(
            answer("HTTP/1.1 503 Service Unavailable\r\n\r\n").await,
            Err("HTTP probe failed with statuscode: 503".into())
        );
        assert!(answer("hello\n").await.unwrap_err().contains("malformed"));
    }

    #[tokio::test]
    async fn a_closed_port_is_a_failure() {
        // An address of its own: tests beside this one may be given the port that it gives back.
        const ALONE: Ipv4Addr = Ipv4Addr::new(127, 9, 8, 7);
        let listener = TcpListener::bind((ALONE, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let container = container(json!({"tcpSocket": {"port": port}}));
        let plan = plans(&container, ALONE).remove(0);
        assert_eq!(ask(&plan).await, Ok(()));
        drop(listener);
        assert!(ask(&plan).await.unwrap_err().starts_with("dial tcp 127.9.8.7:"));
    }

    #[test]
    fn ports_have_names_and_defaults_are_upstreams() {
        let plan =
            plans(&container(json!({"httpGet": {"port": "web"}})), Ipv4Addr::LOCALHOST).remove(0);
        assert_eq!(
            plan.target,
            Target::Http {
                host: "127.0.0.1".into(),
                port: 8080,
                path: "/".into(),
                headers: vec![]
            }
        );
        assert_eq!((plan.period, plan.timeout), (Duration::from_secs(10), Duration::from_secs(1)));
        assert_eq!((plan.successes, plan.failures), (1, 3));
        assert!(
            plans(&container(json!({"exec": {"command": ["true"]}})), Ipv4Addr::LOCALHOST)
                .is_empty()
        );
    }
}
