//! The two sockets: made without a moment in which the wrong people could reach them, and who may speak on them.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::net::UnixListener;

use crate::dirs::Dirs;
use crate::sys::peer::Peer;

/// The listening sockets, with who may speak on each.
#[derive(Debug)]
pub struct Listeners {
    pub(super) full: Door,
    pub(super) read_only: Door,
}

/// One socket.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) listener: UnixListener,
    pub(super) guard: Guard,
}

/// Who may speak on a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guard {
    /// The daemon's own user; root may always.
    pub(super) owner: u32,
    /// And this group.
    pub(super) group: Option<u32>,
}

impl Guard {
    /// Root, the daemon's own user, and members of the group, be it their first group or a further one.
    pub(super) fn admits(&self, peer: &Peer) -> bool {
        let member = |group| peer.gid == group || peer.groups.contains(&group);
        peer.uid == 0 || peer.uid == self.owner || self.group.is_some_and(member)
    }
}

/// Binds both sockets of `dirs` (its run directory must be there). With a group they have mode 0660 and belong to it,
/// without one 0600. The read-only socket has the same group unless `read_only_group` says otherwise. Needs a tokio
/// runtime around it.
///
/// # Errors
/// `AddrInUse` when somebody listens on one of them already; else what the file system says.
pub fn bind(dirs: &Dirs, group: Option<u32>, read_only_group: Option<u32>) -> io::Result<Listeners> {
    Ok(Listeners {
        full: door(&dirs.socket(), group)?,
        read_only: door(&dirs.socket_read_only(), read_only_group.or(group))?,
    })
}

/// The socket gets its owner and mode under another name first, then takes the place of a dead one in one step.
fn door(path: &Path, group: Option<u32>) -> io::Result<Door> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    refuse_if_alive(path).map_err(named)?;
    let aside = path.with_extension("sock.new");
    match fs::remove_file(&aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(named(e)),
        _ => {}
    }
    let listener = UnixListener::bind(&aside).map_err(named)?;
    let ready = || {
        chown(&aside, None, group)?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(if group.is_some() { 0o660 } else { 0o600 }))?;
        fs::rename(&aside, path)
    };
    ready().map_err(named)?;
    Ok(Door { listener, guard: Guard { owner: crate::sys::peer::own_uid(), group } })
}

/// A socket file that nobody listens on refuses a connection; anything else under that name is not ours to replace.
fn refuse_if_alive(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens on this socket")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => match fs::symlink_metadata(path) {
            Ok(m) if std::os::unix::fs::FileTypeExt::is_socket(&m.file_type()) => Ok(()),
            Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket")),
            Err(e) => Err(e),
        },
        Err(e) => Err(e),
    }
}
