//! The bundle of one run: config.json and the files on tmpfs, made anew at each start. Writes below the run directory only.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::dirs::Dirs;
use crate::names::RunId;
use crate::unit::service::{OnChange, Service};

/// Why a run cannot be started: a reason code and one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// bundle-missing, bundle-invalid, root-missing, mount-missing, env-file, secret-missing, config-missing,
    /// seccomp-file, disk-full, internal.
    pub code: &'static str,
    /// What was wanted, what was found.
    pub text: String,
}

/// A bundle that lies ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What the runtime gets as `--bundle`.
    pub bundle: PathBuf,
    /// `process.terminal`: the keeper needs a console socket.
    pub terminal: bool,
    /// The limit of memory in bytes, from the service or its bundle.
    pub memory: Option<u64>,
}

/// Writes `config.json` and the secret and config files of a run. Blocks on the disk, for at most a few small files.
///
/// # Errors
/// See [`Failure::code`]. What was written until then is for [`clean`].
pub fn prepare(
    _service: &Service,
    _run: &RunId,
    _dirs: &Dirs,
    _cgroups_path: &str,
) -> Result<Prepared, Failure> {
    Err(Failure { code: "internal", text: "not finished".into() })
}

/// Removes what [`prepare`] wrote; nothing there is success.
///
/// # Errors
/// The directory cannot be removed.
pub fn clean(_run: &RunId, _dirs: &Dirs) -> std::io::Result<()> {
    Ok(())
}

/// A secret or config file whose source differs from the copy that the container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Path inside the container.
    pub target: String,
    /// What the service file asks for. With `Signal` the new content is already in place: send the signal, then call
    /// [`refreshed`].
    pub action: OnChange,
}

/// Compares the sources of a run's files with their copies; puts new content in place for those that ask for a signal.
/// Never reports `Ignore`. May be called at any time; reports the same change again until it is dealt with.
///
/// # Errors
/// A source that cannot be read (`secret-missing`, `config-missing`): its old copy stays.
pub fn refresh_files(_service: &Service, _run: &RunId, _dirs: &Dirs) -> Result<Vec<Changed>, Failure> {
    Ok(Vec::new())
}

/// The signals of the last [`refresh_files`] have been sent.
///
/// # Errors
/// The mark cannot be removed.
pub fn refreshed(_run: &RunId, _dirs: &Dirs) -> std::io::Result<()> {
    Ok(())
}
