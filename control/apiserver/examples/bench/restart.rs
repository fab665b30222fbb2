//! A server with many objects: how soon it serves again, and what it takes.
#![expect(clippy::cast_precision_loss, reason = "figures to read")]

use std::path::Path;

use beeline_kit::Tasks;
use bytes::Bytes;

use crate::Size;
use crate::client::Client;
use crate::figures;
use crate::server::Serving;
use crate::writes::object;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CLIENTS: usize = 64;

pub(crate) async fn measure(dir: &Path, size: Size, tasks: &Tasks) -> anyhow::Result<()> {
    let serving = Serving::start(dir).await?;
    let mut running = tokio::task::JoinSet::new();
    for part in 0..CLIENTS {
        let mut client = Client::connect(&serving, tasks).await?;
        running.spawn(async move {
            for n in (part..size.objects).step_by(CLIENTS) {
                client.ask("POST", MAPS, object(&format!("m-{n}"))).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(one) = running.join_next().await {
        one??;
    }
    let (written, _) = serving.memory()?;
    serving.stop().await?;
    let serving = Serving::start(dir).await?;
    let mut client = Client::connect(&serving, tasks).await?;
    client.ask("GET", &format!("{MAPS}/m-0"), Bytes::new()).await?;
    let (resident, _) = serving.memory()?;
    let of = |what: &str| format!("{} objects of 1 KiB, {what}", size.objects);
    let mib = |bytes: usize| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
    let seconds = format!("{:.2}", serving.ready_after.as_secs_f64());
    figures::line(&of("restart to serving, s"), &seconds, "<= 2");
    figures::line("  resident after the restart, MiB", &mib(resident), "<= 250");
    figures::line("  resident after they were written, MiB", &mib(written), "");
    serving.stop().await
}
