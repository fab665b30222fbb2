//! The agent's own socket: how looking commands on the same machine ask.
//!
//! One JSON line each way: a question, then answers until the last. The socket is readable by its owner
//! alone, so whoever can connect may ask anything.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use beeline_kit::Tasks;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Health, features and what is missing.
    Status,
    /// What the kernel holds.
    Services,
    /// Flows that match, the newest last.
    Flows {
        /// Which ones.
        query: beeline_observe::Query,
        /// Go on with new ones as they come.
        follow: bool,
    },
    /// Save the store in a file on this machine.
    SnapshotSave {
        /// Its absolute path, which must be free.
        file: PathBuf,
    },
    /// Import an archive that lies on this machine.
    ImageImport {
        /// Its absolute path.
        archive: PathBuf,
    },
    /// List images.
    ImageList,
    /// Remove an image's name.
    ImageRemove {
        /// The image.
        image: String,
    },
}

/// A line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// One result.
    Item(Value),
    /// It failed; the text is for the person who asked.
    Failed(String),
    /// That was all.
    End,
}

/// Answers are sent here; a slow reader holds the answerer up, nobody else.
pub type Answers = mpsc::Sender<Answer>;

/// How many answers may wait for a slow reader.
const ANSWERS_QUEUED_MAX: usize = 256;
/// A question is a short line.
const ASK_BYTES_MAX: usize = 64 * 1024;

/// Whoever knows the answers.
#[async_trait::async_trait]
pub trait Answerer: Send + Sync + 'static {
    /// Send everything that answers the question. Returning ends the answer.
    async fn answer(&self, ask: Ask, answers: &Answers) -> anyhow::Result<()>;
}

/// Listen on the socket until the tasks are stopped. A socket that a dead process left is replaced.
pub fn serve(path: &Path, answerer: Arc<dyn Answerer>, tasks: &Tasks) -> anyhow::Result<()> {
    if path.exists() {
        std::fs::remove_file(path)
            .with_context(|| format!("remove the old socket {}", path.display()))?;
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("listen on {}: is the path too long?", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("restrict {}", path.display()))?;
    let owner = tasks.clone();
    let token = tasks.token();
    tasks.spawn("local-socket", async move {
        loop {
            let accepted = tokio::select! {
                () = token.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let answerer = Arc::clone(&answerer);
                    let token = token.clone();
                    owner.spawn("local-answer", async move {
                        tokio::select! {
                            () = token.cancelled() => {}
                            () = converse(stream, answerer) => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept on the local socket");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

async fn converse(stream: UnixStream, answerer: Arc<dyn Answerer>) {
    let (reader, mut writer) = stream.into_split();
    let (sender, mut receiver) = mpsc::channel(ANSWERS_QUEUED_MAX);
    let asking = async move {
        if let Err(error) = ask_once(reader, &*answerer, &sender).await {
            let _ = sender.send(Answer::Failed(beeline_kit::chain(error.as_ref()))).await;
        }
        let _ = sender.send(Answer::End).await;
    };
    let writing = async move {
        while let Some(answer) = receiver.recv().await {
            let Ok(mut line) = serde_json::to_vec(&answer) else { break };
            line.push(b'\n');
            if writer.write_all(&line).await.is_err() {
                break; // the asker went away, and dropping the receiver ends the answerer
            }
        }
    };
    tokio::join!(asking, writing);
}

async fn ask_once(
    reader: tokio::net::unix::OwnedReadHalf,
    answerer: &dyn Answerer,
    answers: &Answers,
) -> anyhow::Result<()> {
    use tokio::io::AsyncReadExt as _;
    let mut line = String::new();
    BufReader::new(reader.take(ASK_BYTES_MAX as u64))
        .read_line(&mut line)
        .await
        .context("read the question")?;
    let ask = serde_json::from_str(&line)
        .context("understand the question: is the command of the same version as the agent?")?;
    // The asker may go away while nothing happens that could be sent to it.
    tokio::select! {
        () = answers.closed() => Ok(()),
        done = answerer.answer(ask, answers) => done,
    }
}

/// A question under way.
#[derive(Debug)]
pub struct Conversation {
    lines: tokio::io::Lines<BufReader<UnixStream>>,
    socket: PathBuf,
}

impl Conversation {
    /// Ask the agent behind a socket.
    pub async fn ask(socket: &Path, ask: &Ask) -> anyhow::Result<Self> {
        let mut stream = UnixStream::connect(socket).await.with_context(|| {
            format!(
                "connect to {}: is beeline running here, and are you root? Start it with `beeline up`, or name \
                 its --run-dir",
                socket.display()
            )
        })?;
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        stream.write_all(&line).await.context("ask the agent")?;
        Ok(Self { lines: BufReader::new(stream).lines(), socket: socket.to_path_buf() })
    }

    /// The next result; `None` after the last.
    pub async fn next<T: DeserializeOwned>(&mut self) -> anyhow::Result<Option<T>> {
        let line = self.lines.next_line().await.context("read the agent's answer")?;
        let Some(line) = line else {
            bail!(
                "the agent behind {} went away in the middle of its answer",
                self.socket.display()
            );
        };
        match serde_json::from_str(&line).context("understand the agent's answer")? {
            Answer::Item(item) => {
                Ok(Some(serde_json::from_value(item).context("understand the agent's answer")?))
            }
            Answer::Failed(reason) => bail!(reason),
            Answer::End => Ok(None),
        }
    }
}

/// Ask for one result.
pub async fn ask_one<T: DeserializeOwned>(socket: &Path, ask: &Ask) -> anyhow::Result<T> {
    let mut conversation = Conversation::ask(socket, ask).await?;
    conversation.next().await?.context("the agent had no answer")
}
