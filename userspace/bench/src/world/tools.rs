//! Other programs: what is given to them, and what they say.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::BenchError;

/// A program and its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// Its name on the PATH.
    pub program: &'static str,
    /// What it is told.
    pub arguments: &'static [&'static str],
}

impl Tool {
    /// Whether it is installed.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let mut command = Command::new(self.program);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok()
    }

    fn show(&self) -> String {
        let words = std::iter::once(&self.program).chain(self.arguments);
        words.copied().collect::<Vec<_>>().join(" ")
    }
}

/// Run a tool in the calling thread's namespace with a text as its input; what it prints.
pub fn run(tool: &Tool, input: &str) -> Result<String, BenchError> {
    let start = |source| BenchError::Start { command: tool.show(), source };
    let mut child = Command::new(tool.program)
        .args(tool.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // On a thread of its own: a tool that complains at length must not wait for a reader who is writing.
        let writer = scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input.as_bytes())));
        let output = child.wait_with_output();
        let _ = writer.join();
        output
    })
    .map_err(start)?;
    if !output.status.success() {
        let mut message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if let Some((end, _)) = message.char_indices().nth(500) {
            message.truncate(end);
        }
        return Err(BenchError::Tool { command: tool.show(), message });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
