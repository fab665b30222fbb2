//! What a load balancer is told, in kube-proxy's words.
//!
//! In: who is asked about, how many endpoints are here, whether the dataplane is well. Out: an HTTP answer. Pure.

use beeline_tables::ObjectName;
use http::StatusCode;
use serde::Serialize;

use crate::http_server::Answer;

#[derive(Serialize)]
struct Body<'a> {
    service: Name<'a>,
    #[serde(rename = "localEndpoints")]
    local_endpoints: usize,
    #[serde(rename = "serviceProxyHealthy")]
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct Name<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// Whether the path or the method is this or that plays no part.
pub(crate) fn answer(service: &ObjectName, local_endpoints: usize, healthy: bool) -> Answer {
    let body = Body {
        service: Name { namespace: &service.namespace, name: &service.name },
        local_endpoints,
        service_proxy_healthy: healthy,
    };
    let serves = healthy && local_endpoints > 0;
    let status = if serves { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::json(status, &body)
        .with("x-load-balancing-endpoint-weight", &local_endpoints.to_string())
}

#[cfg(test)]
mod tests {
    use beeline_tables::ObjectName;

    use super::answer;

    #[test]
    fn words_and_weights_are_kube_proxys() {
        let web = ObjectName::new("shop", "web");
        let yes = answer(&web, 2, true);
        assert_eq!(yes.status, 200);
        let expected = r#"{"service":{"namespace":"shop","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}"#;
        assert_eq!(yes.body, expected);
        let headers = [
            ("content-type", "application/json"),
            ("x-content-type-options", "nosniff"),
            ("x-load-balancing-endpoint-weight", "2"),
        ];
        let found: Vec<_> =
            yes.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(found, headers);
        assert_eq!(answer(&web, 0, true).status, 503);
        assert_eq!(answer(&web, 2, false).status, 503);
    }
}
