//! The last steps inside a container before its program takes over: find it, or say in upstream's words why not.
//! In: arguments and environment. Out: a running program, or a message through a pipe that exec closes.
//! Runs in the container's first process, after its root, user and capabilities are in force.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};

/// How libcontainer starts our program.
#[derive(Clone)]
pub(super) struct Exec {
    pub(super) report: Arc<OwnedFd>,
    pub(super) argv: Arc<Vec<String>>,
    pub(super) env: Arc<Vec<(String, String)>>,
}

impl Exec {
    fn find(&self) -> Result<PathBuf, String> {
        let name = self.argv.first().ok_or("no command specified")?;
        let path = self.env.iter().find(|(n, _)| n == "PATH").map_or("", |(_, v)| v.as_str());
        find(name, path)
    }

    fn tell(&self, message: &str) {
        // Nobody is left to hear of a failure to report a failure.
        let _ = rustix::io::write(&self.report, message.as_bytes());
    }

    fn run(&self) -> Result<(), String> {
        let program = self.find()?;
        beeline_sys::signal::reset_for_exec().map_err(|e| e.to_string())?;
        beeline_sys::process::close_on_exec().map_err(|e| e.to_string())?;
        // Should the shim be killed, its containers must not live on unwatched.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|e| e.to_string())?;
        let mut command = std::process::Command::new(&program);
        command
            .arg0(&self.argv[0])
            .args(&self.argv[1..])
            .env_clear()
            .envs(self.env.iter().cloned());
        let error = command.exec();
        Err(format!("exec {}: {}", program.display(), words(&error)))
    }
}

impl Executor for Exec {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let Err(message) = self.run() else { return Ok(()) };
        self.tell(&message);
        Err(ExecutorError::Other(message))
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        self.find().map(|_| ()).map_err(|message| {
            self.tell(&message);
            ExecutorValidationError::ArgValidationError(message)
        })
    }

    fn setup_envs(
        &self,
        _: std::collections::HashMap<String, String>,
    ) -> Result<(), ExecutorSetEnvsError> {
        // The environment is handed to exec; this process's own does not matter.
        Ok(())
    }
}

/// Go's `exec.LookPath`, whose messages every user of Kubernetes knows.
fn find(name: &str, path: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        return check(Path::new(name)).map(|()| name.into()).map_err(|error| {
            let stat = if error.kind() == std::io::ErrorKind::NotFound {
                format!("stat {name}: ")
            } else {
                String::new()
            };
            format!("exec: {name:?}: {stat}{}", words(&error))
        });
    }
    let mut candidates =
        path.split(':').map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name));
    candidates
        .find(|candidate| check(candidate).is_ok())
        .ok_or_else(|| format!("exec: {name:?}: executable file not found in $PATH"))
}

fn check(path: &Path) -> std::io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    Ok(rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?)
}

/// The kernel's message as Go prints it: lower case, no number.
fn words(error: &std::io::Error) -> String {
    match rustix::io::Errno::from_io_error(error) {
        Some(rustix::io::Errno::NOEXEC) => "exec format error".to_owned(),
        Some(rustix::io::Errno::NOENT) => "no such file or directory".to_owned(),
        Some(rustix::io::Errno::ACCESS) => "permission denied".to_owned(),
        Some(rustix::io::Errno::ISDIR) => "is a directory".to_owned(),
        _ => error.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        let refused = |name: &str| find(name, "/usr/bin:/bin").unwrap_err();
        assert_eq!(
            refused("no-such-program"),
            r#"exec: "no-such-program": executable file not found in $PATH"#
        );
        assert_eq!(
            refused("/no/such"),
            r#"exec: "/no/such": stat /no/such: no such file or directory"#
        );
        assert_eq!(refused("/etc/passwd"), r#"exec: "/etc/passwd": permission denied"#);
        assert_eq!(refused("/etc"), r#"exec: "/etc": is a directory"#);
        assert_eq!(find("sh", "/nowhere:/bin").unwrap(), Path::new("/bin/sh"));
    }
}
