//! `cargo xtask build-ebpf`: compiles the kernel programs into `target/bpf/beeline.o`.
//!
//! In: `ebpf/{abi,packet,programs}`, a compiler that can target BPF, `bpf-linker`. Out: the path of the object.
//! A second call with the same inputs does nothing. Never installs anything: `setup` does, and errors say what is missing.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The object that `beeline-datapath` embeds, relative to the workspace root.
pub const OBJECT: &str = "target/bpf/beeline.o";

/// The LLVM that `bpf-linker` 0.13 is built with; bitcode of a newer one is unreadable for it.
const LINKER_LLVM_MAJOR: u32 = 22;

const INPUT_DIRS: [&str; 3] = ["ebpf/abi", "ebpf/packet", "ebpf/programs"];
const INPUT_FILES: [&str; 2] = ["Cargo.toml", "xtask/src/build_ebpf.rs"];

/// Builds the object if its inputs changed and says where it lies.
pub fn run() -> Result<PathBuf> {
    let root = workspace_root()?;
    let object = root.join(OBJECT);
    let stamp = object.with_extension("stamp");
    let inputs = fingerprint(&root)?;
    if object.is_file() && fs::read_to_string(&stamp).is_ok_and(|known| known == inputs) {
        return Ok(object);
    }
    let rustc = Compiler::find()?;
    let linker = find_linker(&root)?;
    let built = compile(&root, &rustc, &linker)?;
    install(&built, &object)?;
    // The lock file may have been completed by the build, so what is remembered is read again.
    fs::write(&stamp, fingerprint(&root)?).with_context(|| format!("write {}", stamp.display()))?;
    Ok(object)
}

fn workspace_root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest.parent().context("xtask lies directly under the workspace root")?.to_path_buf())
}

/// A compiler that can build for BPF.
struct Compiler {
    path: PathBuf,
    origin: &'static str,
}

impl Compiler {
    /// The first usable one of: the environment's, a rustup nightly, Debian's.
    fn find() -> Result<Compiler> {
        if let Some(path) = std::env::var_os("BEELINE_BPF_RUSTC") {
            let compiler = Compiler { path: path.into(), origin: "$BEELINE_BPF_RUSTC" };
            compiler
                .check()
                .with_context(|| format!("use $BEELINE_BPF_RUSTC ({})", compiler.path.display()))?;
            return Ok(compiler);
        }
        let mut refusals = Vec::new();
        for (path, origin) in
            [(rustup_nightly(), "rustup nightly"), (debian(), "Debian's rustc-web")]
        {
            let Some(path) = path else {
                refusals.push(format!("{origin}: not installed"));
                continue;
            };
            let compiler = Compiler { path, origin };
            match compiler.check() {
                Ok(()) => return Ok(compiler),
                Err(why) => refusals.push(format!("{origin}: {why:#}")),
            }
        }
        bail!(
            "no compiler for the BPF target:\n  {}\n\
             Any one of these helps (`cargo xtask setup` does the first where it can):\n  \
             apt-get install rustc-web rust-web-src llvm-{LINKER_LLVM_MAJOR}-dev\n  \
             rustup toolchain install nightly --component rust-src   (while its LLVM is {LINKER_LLVM_MAJOR} or older)\n  \
             BEELINE_BPF_RUSTC=/path/to/rustc   (with its standard library's source)",
            refusals.join("\n  ")
        )
    }

    /// It runs, its bitcode is readable for the linker, and the source of `core` is beside it.
    fn check(&self) -> Result<()> {
        let version = self.ask(&["-vV"])?;
        let llvm = version
            .lines()
            .find_map(|line| line.strip_prefix("LLVM version: "))
            .unwrap_or_default();
        let major: u32 = llvm
            .split('.')
            .next()
            .unwrap_or_default()
            .parse()
            .with_context(|| format!("parse LLVM version {llvm:?}"))?;
        if major > LINKER_LLVM_MAJOR {
            bail!("its LLVM {major} is newer than bpf-linker's {LINKER_LLVM_MAJOR}");
        }
        let sysroot = self.ask(&["--print", "sysroot"])?;
        let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
        if !source.is_dir() {
            bail!("the source of core is missing ({})", source.display());
        }
        Ok(())
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        output_of(Command::new(&self.path).args(arguments))
    }
}

fn rustup_nightly() -> Option<PathBuf> {
    let path = output_of(Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]))
        .ok()?;
    Some(PathBuf::from(path.trim()))
}

fn debian() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/bin/rustc");
    path.is_file().then_some(path)
}

fn find_linker(root: &Path) -> Result<PathBuf> {
    let ours = root.join("target/tools/bin/bpf-linker");
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    std::env::var_os("BEELINE_BPF_LINKER")
        .map(PathBuf::from)
        .into_iter()
        .chain([ours])
        .chain(std::env::split_paths(&on_path).map(|dir| dir.join("bpf-linker")))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "find bpf-linker; `cargo xtask setup` installs it, or by hand:\n  \
                 LLVM_PREFIX=/usr/lib/llvm-{LINKER_LLVM_MAJOR} cargo install bpf-linker@0.13.0 --no-default-features \
                 --features llvm-{LINKER_LLVM_MAJOR} --root target/tools"
            )
        })
}

fn compile(root: &Path, rustc: &Compiler, linker: &Path) -> Result<PathBuf> {
    let programs = root.join("ebpf/programs");
    let target_dir = programs.join("target");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(&programs)
        .args([
            "build",
            "--release",
            "--quiet",
            "-Zbuild-std=core",
            "--target",
            "bpfel-unknown-none",
            "--target-dir",
        ])
        .arg(&target_dir)
        .env("RUSTC", &rustc.path)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(linker));
    // What the caller's own build set would reach this one, which is for another machine.
    for name in [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
        "RUSTDOC",
    ] {
        command.env_remove(name);
    }
    let status = command.status().context("start cargo for the BPF target")?;
    if !status.success() {
        bail!("compile ebpf/programs with {} ({}): {status}", rustc.origin, rustc.path.display());
    }
    Ok(target_dir.join("bpfel-unknown-none/release/beeline"))
}

/// Flags separated by 0x1f, as cargo wants them.
fn rust_flags(linker: &Path) -> OsString {
    let mut linker_flag = OsString::from("-Clinker=");
    linker_flag.push(linker);
    let arch = format!("bpf_target_arch=\"{}\"", std::env::consts::ARCH);
    let flags: [OsString; 6] = [
        "--cfg".into(),
        arch.into(),
        linker_flag,
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // The option behind it also keeps LLVM from writing zeroes in words: each `memset` becomes a call and a loop over bytes.
        "-Clink-arg=--disable-expand-memcpy-in-order".into(),
    ];
    flags.join(&OsString::from("\u{1f}"))
}

/// Copies beside the target and renames, so that a reader never sees half an object.
fn install(built: &Path, object: &Path) -> Result<()> {
    let dir = object.parent().context("the object has a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let fresh = object.with_extension("o.new");
    fs::copy(built, &fresh)
        .with_context(|| format!("copy {} to {}", built.display(), fresh.display()))?;
    fs::rename(&fresh, object)
        .with_context(|| format!("rename {} to {}", fresh.display(), object.display()))
}

/// A number for the content of everything that goes into the object; times would lie after a checkout.
fn fingerprint(root: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = INPUT_FILES.iter().map(|file| root.join(file)).collect();
    for dir in INPUT_DIRS {
        collect(&root.join(dir), &mut files)?;
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    std::env::var_os("BEELINE_BPF_RUSTC").hash(&mut hasher);
    for file in files {
        file.strip_prefix(root).unwrap_or(&file).hash(&mut hasher);
        fs::read(&file).with_context(|| format!("read {}", file.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry.with_context(|| format!("list {}", dir.display()))?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target" && name != "fuzz") {
                collect(&path, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|kind| kind == "rs" || kind == "toml" || kind == "lock")
        {
            files.push(path);
        }
    }
    Ok(())
}

fn output_of(command: &mut Command) -> Result<String> {
    let output =
        command.output().with_context(|| format!("run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            command.get_program().display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("read what {} says", command.get_program().display()))
}
