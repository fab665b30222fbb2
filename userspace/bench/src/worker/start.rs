//! The side of whoever starts workers.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use super::{
    protocol::{Answer, Order},
    serve::MARK,
};
use crate::{BenchError, world::Namespace};

/// How a process is started that calls [`super::serve`].
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program.
    pub program: OsString,
    /// What makes it a worker.
    pub arguments: Vec<OsString>,
    /// Set in its environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// The hidden first argument that makes the program a worker.
pub const ARGUMENT: &str = "bench-worker";

impl Launcher {
    /// This very program, which calls [`super::serve`] when its first argument is [`ARGUMENT`].
    ///
    /// # Errors
    /// When the kernel does not say which program this is.
    pub fn this_program() -> Result<Self, BenchError> {
        let path = std::path::PathBuf::from("/proc/self/exe");
        let program =
            std::fs::read_link(&path).map_err(|source| BenchError::File { path, source })?;
        let arguments = vec![ARGUMENT.into()];
        Ok(Self { program: program.into(), arguments, environment: Vec::new() })
    }
}

/// A running worker; killed when dropped.
#[derive(Debug)]
pub struct Worker {
    place: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Start one in a place. It ends with the calling thread at the latest.
    pub fn start(
        launcher: &Launcher,
        namespace: &Namespace,
        cgroup: Option<&Path>,
        cpu: Option<usize>,
    ) -> Result<Self, BenchError> {
        let mut command = Command::new(&launcher.program);
        command
            .args(&launcher.arguments)
            .envs(launcher.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for whoever started the benchmark.
            .process_group(0);
        beeline_sys::process::end_with_parent(&mut command);
        let failed = |source| BenchError::Start {
            command: launcher.program.to_string_lossy().into_owned(),
            source,
        };
        let mut child = command.spawn().map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        let place = namespace.name();
        let mut worker = Self { place, child, input, output: BufReader::new(output) };
        worker.tell(&Order::Join {
            netns: namespace.path(),
            cgroup: cgroup.map(Path::to_owned),
            cpu,
        })?;
        Ok(worker)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tell it something and wait for the answer.
    pub fn tell(&mut self, order: &Order) -> Result<Answer, BenchError> {
        let text = serde_json::to_string(order)
            .map_err(|source| BenchError::Json { what: format!("write {order:?}"), source })?;
        writeln!(self.input, "{text}").map_err(|error| self.complain(error.to_string()))?;
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line);
            if read.map_err(|error| self.complain(error.to_string()))? == 0 {
                return Err(self.complain("it ended".to_owned()));
            }
            // A test harness writes to the same pipe.
            let Some((_, answer)) = line.split_once(MARK) else { continue };
            return match serde_json::from_str(answer) {
                Ok(Answer::Failed(message)) => Err(self.complain(message)),
                Ok(answer) => Ok(answer),
                Err(error) => Err(self.complain(format!("{error} in {answer:?}"))),
            };
        }
    }

    /// What it said is not what was asked for.
    pub fn complain(&self, message: String) -> BenchError {
        BenchError::Worker { place: self.place.to_owned(), message }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
