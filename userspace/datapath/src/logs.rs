//! What the programs themselves have to say, from their own ring into `tracing`.
#![expect(unsafe_code, reason = "waiting on a descriptor is a promise that it stays the same")]

use aya_log::{EbpfLogger, Error};
use beeline_kit::Tasks;
use tokio::io::{Interest, unix::AsyncFd};

/// Starts forwarding what a program says, and with it all others of its object, which share the ring. An object without diagnostics has none to forward.
pub(crate) fn forward(program: u32, tasks: &Tasks) {
    let logger = match EbpfLogger::init_from_id(program) {
        Ok(logger) => logger,
        Err(Error::MapNotFound) => return,
        Err(error) => {
            tracing::warn!(%error, "no diagnostics from the kernel programs");
            return;
        }
    };
    // SAFETY: a logger owns the descriptor of its ring and names the same one for as long as it lives.
    let mut logger = match unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) } {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!(%error, "no diagnostics from the kernel programs");
            return;
        }
    };
    let token = tasks.token();
    tasks.spawn("datapath-logs", async move {
        let forwarding = async {
            while let Ok(mut guard) = logger.readable_mut().await {
                guard.get_inner_mut().flush();
                guard.clear_ready();
            }
        };
        let _ = token.run_until_cancelled(forwarding).await;
    });
}
