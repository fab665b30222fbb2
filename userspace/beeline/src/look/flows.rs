//! `beeline flows`: from the agent of this machine, or from every node through the API server.

use anyhow::Context as _;
use beeline_observe::{Flow, Layout, Query};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::{
    cli::{FlowsArgs, Output},
    client::ApiClient,
    local::{Ask, Conversation},
    output,
};

/// Without other conditions, this many are enough for a screen.
const LAST_DEFAULT: usize = 20;

/// Carry out the command.
pub async fn flows(args: FlowsArgs) -> anyhow::Result<()> {
    let query = query(&args)?;
    let mut printer = Printer::new(args.output, query.follow);
    match &args.kubeconfig {
        Some(path) => {
            everywhere(&ApiClient::from_kubeconfig(path, None)?, &query, &mut printer).await?;
        }
        None => {
            let ask = Ask::Flows { follow: query.follow, query };
            let mut conversation = Conversation::ask(&args.look.socket(), &ask).await?;
            while let Some(flow) = conversation.next::<Flow>().await? {
                printer.flow(flow)?;
            }
        }
    }
    printer.finish();
    Ok(())
}

fn query(args: &FlowsArgs) -> anyhow::Result<Query> {
    let since_seconds = args.since.as_deref().map(seconds).transpose()?;
    let query = Query {
        last: args.last.or((!args.follow && since_seconds.is_none()).then_some(LAST_DEFAULT)),
        since_seconds,
        pod: args.pod.clone(),
        service: args.service.clone(),
        verdict: args.verdict.clone(),
        protocol: args.protocol.clone(),
        flow_id: args.flow_id.clone(),
        follow: args.follow,
    };
    query.check()?;
    Ok(query)
}

/// A duration as people write it.
fn seconds(text: &str) -> anyhow::Result<u64> {
    let split = text.trim().find(|sign: char| !sign.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.trim().split_at(split);
    let unit = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    let value =
        number.parse::<u64>().ok().filter(|_| unit > 0).and_then(|number| number.checked_mul(unit));
    value.with_context(|| {
        format!("--since {text:?} is not a duration: use a number with s, m, h or d, such as 5m")
    })
}

/// Ask all nodes and merge what they say by time; when following, lines come in the order they arrive.
async fn everywhere(
    client: &ApiClient,
    query: &Query,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let encoded = percent_encode(&serde_json::to_string(query)?);
    let mut body = client.stream(&format!("/beeline/v1/flows?query={encoded}")).await?;
    let mut rest = Vec::new();
    let mut found = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("read the nodes' flows")?.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let Some(flow) = understand(&line)? else { continue };
            if query.follow { printer.flow(flow)? } else { found.push(flow) }
        }
    }
    found.sort_by_key(|flow: &Flow| flow.time);
    let skip = found.len().saturating_sub(query.last.unwrap_or(usize::MAX));
    found.into_iter().skip(skip).try_for_each(|flow| printer.flow(flow))
}

fn understand(line: &[u8]) -> anyhow::Result<Option<Flow>> {
    let value: Value = serde_json::from_slice(line).context("understand a node's flow")?;
    if let Some(error) = value.get("error").and_then(Value::as_str) {
        let node = value.get("node").and_then(Value::as_str).unwrap_or("a node");
        output::note(&format!("beeline: {node}: {error}"));
        return Ok(None);
    }
    Ok(Some(serde_json::from_value(value).context("understand a node's flow")?))
}

fn percent_encode(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes()
        .map(
            |byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") },
        )
        .collect()
}

/// JSON lines as they come; a table as it comes when following, else once all is known and can be lined up.
struct Printer {
    output: Output,
    layout: Layout,
    /// Flows that wait for the end; `None` when following.
    waiting: Option<Vec<Flow>>,
}

impl Printer {
    fn new(output: Output, follow: bool) -> Self {
        let waiting = (!follow).then(Vec::new);
        let layout = Layout::default();
        if follow && output == Output::Table {
            output::line(&layout.header());
        }
        Self { output, layout, waiting }
    }

    fn flow(&mut self, flow: Flow) -> anyhow::Result<()> {
        match (self.output, &mut self.waiting) {
            (Output::Json, _) => output::line(&serde_json::to_string(&flow)?),
            (Output::Table, Some(waiting)) => waiting.push(flow),
            (Output::Table, None) => output::line(&self.layout.line(&flow)),
        }
        Ok(())
    }

    fn finish(&mut self) {
        let Some(flows) = self.waiting.take().filter(|_| self.output == Output::Table) else {
            return;
        };
        let mut layout = Layout::of(&flows);
        output::line(&layout.header());
        flows.iter().for_each(|flow| output::line(&layout.line(flow)));
    }
}

#[cfg(test)]
mod tests {
    use super::{percent_encode, seconds};

    #[test]
    fn durations_are_written_as_people_do() {
        assert_eq!(seconds("5m").unwrap(), 300);
        assert_eq!(seconds("90").unwrap(), 90);
        assert!(seconds("soon").unwrap_err().to_string().contains("--since"));
        assert!(seconds("99999999999999999999d").is_err());
    }

    #[test]
    fn queries_survive_a_url() {
        assert_eq!(percent_encode(r#"{"pod":"a/b"}"#), "%7B%22pod%22%3A%22a%2Fb%22%7D");
    }
}
