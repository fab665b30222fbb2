//! From the embedded object to programs in the kernel: taken over where an earlier process left the same ones, verified otherwise.
//!
//! The verifier takes about a second for all of them, and an agent is restarted more often than it is replaced. So programs are
//! pinned under the fingerprint of their object; a start that finds them whole, over the pinned maps, has nothing to load.

use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZero,
    os::fd::{AsFd as _, OwnedFd},
    panic,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread::{self, ScopedJoinHandle},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::MapInfo,
    programs::{Program, ProgramError, ProgramInfo},
};
use beeline_abi::maps;

use crate::{
    Config, DatapathError, bpf,
    error::At as _,
    pins::{self, Pins},
};

#[cfg(has_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/beeline.o"));
#[cfg(not(has_object))]
static OBJECT: &[u8] = &[];

/// Another object has another one.
const FINGERPRINT: &str = env!("BEELINE_OBJECT_FINGERPRINT");

/// How often the verifier is asked. A signal lasts no longer than one call; more of them in a row are something else.
const VERIFY_ATTEMPTS: u32 = 10;

/// True when this build can load programs at all.
pub fn embedded() -> bool {
    !OBJECT.is_empty()
}

/// Programs by their names.
pub(crate) type Standing = BTreeMap<&'static str, OwnedFd>;

/// The programs of these names, over the pinned maps; maps that are not there are made and pinned.
pub(crate) fn load(
    names: &[&'static str],
    pins: &Pins,
    config: &Config,
) -> Result<Standing, DatapathError> {
    if !embedded() {
        return Err(DatapathError::NoObject);
    }
    if let Some(standing) = take_over(names, pins)? {
        tracing::debug!("an earlier process left the same programs");
        return Ok(standing);
    }
    let mut ebpf = open(pins, config)?;
    pins::remove_tree(&pins.programs)?;
    let directory = directory(pins);
    fs::create_dir_all(&directory).at("create", &directory)?;
    let standing = verify_all(&mut ebpf, names, pins)?;
    match orphan(names, pins)? {
        Some((program, map)) => Err(DatapathError::Orphaned { program, map }),
        None => Ok(standing),
    }
}

/// The id of one of them.
pub(crate) fn id(name: &'static str, pins: &Pins) -> Result<u32, DatapathError> {
    info(name, pins).map(|info| info.id())
}

fn directory(pins: &Pins) -> PathBuf {
    pins.programs.join(FINGERPRINT)
}

fn pin(name: &str, pins: &Pins) -> PathBuf {
    directory(pins).join(name)
}

/// `None` unless every one is there and uses the pinned maps. What a process left that ended while it pinned is not whole.
fn take_over(names: &[&'static str], pins: &Pins) -> Result<Option<Standing>, DatapathError> {
    let mut standing = Standing::new();
    for name in names {
        let path = pin(name, pins);
        match bpf::get(&path) {
            Ok(program) => standing.insert(name, program),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("open", &path),
        };
    }
    let whole = maps::PINNED.iter().all(|map| pins.map(map).exists());
    let is_over_pinned = whole && orphan(names, pins)?.is_none();
    Ok(is_over_pinned.then_some(standing))
}

fn open(pins: &Pins, config: &Config) -> Result<Ebpf, DatapathError> {
    let mut loader = EbpfLoader::new();
    for name in maps::PINNED {
        loader.map_pin_path(name, pins.map(name));
    }
    for (name, entries) in config.sizes.by_map() {
        loader.map_max_entries(name, entries);
    }
    loader.load(OBJECT).map_err(|error| DatapathError::Load(Box::new(error)))
}

/// Hands all programs to the verifier, as many at once as there are processors: each is walked by the thread that asks, and a
/// node that starts for the first time waits for nothing else as long.
fn verify_all(
    ebpf: &mut Ebpf,
    names: &[&'static str],
    pins: &Pins,
) -> Result<Standing, DatapathError> {
    let mut found: BTreeMap<&str, &mut Program> = ebpf.programs_mut().collect();
    let mut waiting = Vec::new();
    for name in names {
        let program = found.remove(name).ok_or(DatapathError::NoProgram(name))?;
        waiting.push((*name, program));
    }
    let waiting = Mutex::new(waiting);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || -> Result<Standing, DatapathError> {
        let mut standing = Standing::new();
        while let Some((name, program)) = next() {
            standing.insert(name, verify(name, program, pins)?);
        }
        Ok(standing)
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(names.len().max(1));
    let parts: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(ScopedJoinHandle::join).collect()
    });
    let mut standing = Standing::new();
    for part in parts {
        standing.extend(part.unwrap_or_else(|panic| panic::resume_unwind(panic))?);
    }
    Ok(standing)
}

/// Hands one program to the verifier, and pins it. The verifier gives up with EAGAIN when a signal arrives meanwhile, and is
/// asked again.
fn verify(
    name: &'static str,
    program: &mut Program,
    pins: &Pins,
) -> Result<OwnedFd, DatapathError> {
    let mut attempts = 1;
    loop {
        match verify_once(program) {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == io::ErrorKind::WouldBlock && attempts < VERIFY_ATTEMPTS =>
            {
                attempts += 1;
            }
            Err(ProgramError::UnexpectedProgramType) => return Err(DatapathError::NoProgram(name)),
            Err(source) => return Err(failed(name, source)),
            Ok(program) => {
                let path = pin(name, pins);
                bpf::pin(program.as_fd(), &path).at("pin", &path)?;
                return Ok(program);
            }
        }
    }
}

fn verify_once(program: &mut Program) -> Result<OwnedFd, ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load()?,
        Program::CgroupSock(program) => program.load()?,
        Program::SockOps(program) => program.load()?,
        Program::SchedClassifier(program) => program.load()?,
        Program::Xdp(program) => program.load()?,
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    program.fd()?.as_fd().try_clone_to_owned().map_err(ProgramError::IOError)
}

/// A program that uses another map than the pinned one of that name: it would forward on and orphan every connection, silently.
fn orphan(
    names: &[&'static str],
    pins: &Pins,
) -> Result<Option<(&'static str, String)>, DatapathError> {
    let pinned: BTreeMap<&str, u32> = maps::PINNED
        .iter()
        .filter_map(|name| Some((*name, MapInfo::from_pin(pins.map(name)).ok()?.id())))
        .collect();
    for name in names {
        let ids = info(name, pins)?.map_ids().map_err(|source| failed(name, source))?;
        for id in ids.unwrap_or_default() {
            let Ok(map) = MapInfo::from_id(id) else { continue };
            let Some(map) = map.name_as_str() else { continue };
            if pinned.get(map).is_some_and(|wanted| *wanted != id) {
                return Ok(Some((name, map.to_owned())));
            }
        }
    }
    Ok(None)
}

fn info(name: &'static str, pins: &Pins) -> Result<ProgramInfo, DatapathError> {
    ProgramInfo::from_pin(pin(name, pins)).map_err(|source| failed(name, source))
}

fn failed(name: &'static str, source: ProgramError) -> DatapathError {
    DatapathError::Program { name, source: Box::new(source) }
}
