//! The sockets that the daemon holds for services: opened before the first instance is made, kept by the holder
//! ([`crate::keeper::hold`]) over the daemon's own end, closed when nobody wants the service any more.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::owner::{Owner, Slot};
use super::place::Place;
use super::told::tells;
use super::work::{Done, Job, Shop};
use crate::keeper::holder::Holder;
use crate::machine::State;
use crate::names::{RunId, ServiceName};
use crate::sys::held as sys;
use crate::unit::listen::{Address, Listen};
use crate::unit::service::Service;

/// How long the end of the daemon waits for the holder.
const LAST: Duration = Duration::from_secs(2);

/// Whose socket it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// A service's, and where it listens.
    Listen(ServiceName, Address),
    /// The notify socket of a run.
    Notify(RunId),
}

/// What the daemon holds. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Held {
    all: Rc<Mutex<All>>,
    /// What somebody wants, as of the last look at all services.
    wanted: Rc<RefCell<BTreeSet<Key>>>,
}

#[derive(Debug)]
struct All {
    dir: PathBuf,
    program: Rc<Path>,
    cgroup: Option<PathBuf>,
    done: mpsc::UnboundedSender<Done>,
    sockets: Vec<(Key, OwnedFd)>,
    holder: Option<(Holder, JoinHandle<()>)>,
}

impl Held {
    /// Nothing is held yet.
    pub(super) fn new(
        dir: PathBuf,
        program: Rc<Path>,
        place: &Place,
        done: mpsc::UnboundedSender<Done>,
    ) -> Held {
        let cgroup = place.holder();
        let all = All { dir, program, cgroup, done, sockets: Vec::new(), holder: None };
        Held { all: Rc::new(Mutex::new(all)), wanted: Rc::default() }
    }
}

impl All {
    fn find(&self, key: &Key) -> Option<usize> {
        self.sockets.iter().position(|(k, _)| k == key)
    }

    /// The socket of a service: the one that is held, or a new one.
    async fn open(&mut self, service: &ServiceName, listen: &Listen) -> Result<OwnedFd, (String, String)> {
        let Listen { address, name: _, mode } = listen;
        let failed = |e: io::Error| {
            let code = if e.kind() == ErrorKind::AddrInUse { "listen-in-use" } else { "listen-failed" };
            (code.to_owned(), format!("{address}: {e}"))
        };
        let key = Key::Listen(service.clone(), address.clone());
        if let (Some(at), Address::Unix(path)) = (self.find(&key), address)
            && !is_socket(path)
        {
            info!("{service}: {path} was taken away, it is made anew");
            self.sockets.remove(at);
        }
        if let Some((_, fd)) = self.find(&key).and_then(|at| self.sockets.get(at)) {
            if let Address::Unix(path) = address {
                std::fs::set_permissions(path, PermissionsExt::from_mode(*mode)).map_err(failed)?;
            }
            return fd.try_clone().map_err(failed);
        }
        let other = self.sockets.iter().find_map(|(key, _)| match key {
            Key::Listen(other, a) if a == address => Some(other),
            _ => None,
        });
        if let Some(other) = other {
            return Err(("listen-in-use".into(), format!("{address}: it is held for {other}")));
        }
        let fd = open(address, *mode).map_err(failed)?;
        let copy = fd.try_clone().map_err(failed)?;
        self.sockets.push((key, fd));
        Ok(copy)
    }

    /// The holder has all that is held.
    async fn keep(&mut self) -> io::Result<()> {
        if self.holder.is_some() || self.sockets.is_empty() {
            return Ok(());
        }
        let (holder, watch) = self.start().await?;
        for (key, fd) in &self.sockets {
            holder.put(&name(key), fd).await?;
        }
        self.holder = Some((holder, watch));
        Ok(())
    }

    /// The same after one more was opened.
    async fn keep_also(&mut self, service: &ServiceName, listen: &[Listen]) -> io::Result<()> {
        let Some((holder, _)) = &self.holder else { return self.keep().await };
        for address in listen.iter().map(|l| &l.address) {
            let key = Key::Listen(service.clone(), address.clone());
            if let Some((_, fd)) = self.find(&key).and_then(|at| self.sockets.get(at)) {
                holder.put(&name(&key), fd).await?;
            }
        }
        Ok(())
    }

    async fn start(&self) -> io::Result<(Holder, JoinHandle<()>)> {
        match std::fs::DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let holder = Holder::start(&self.program, &self.dir, self.cgroup.as_deref()).await?;
        let gone = Holder::gone(&self.dir)?;
        let done = self.done.clone();
        let watch = tokio::task::spawn_local(async move {
            gone.wait().await;
            // The loop is gone only when the daemon ends.
            done.send(Done::HolderGone).ok();
        });
        Ok((holder, watch))
    }

    fn forget_holder(&mut self) {
        if let Some((_, watch)) = self.holder.take() {
            watch.abort();
        }
    }

    /// Takes what an earlier daemon gave to the holder. Where there is no holder, nothing was held.
    async fn restore(&mut self) -> io::Result<()> {
        if Holder::connect(&self.dir).is_err() {
            return Ok(());
        }
        let (holder, watch) = self.start().await?;
        for (text, fd) in holder.all().await? {
            match key(&text) {
                Some(key) => self.sockets.push((key, fd)),
                None => holder.remove(&text).await?,
            }
        }
        self.holder = Some((holder, watch));
        Ok(())
    }

    async fn close_all_but(&mut self, wanted: &RefCell<BTreeSet<Key>>) {
        let kept = |key: &Key| wanted.borrow().contains(key);
        for (key, fd) in self.sockets.extract_if(.., |(key, _)| !kept(key)).collect::<Vec<_>>() {
            let name = name(&key);
            info!("closed: {name}");
            drop(fd);
            if let Some((holder, _)) = &self.holder
                && let Err(e) = holder.remove(&name).await
            {
                warn!("{name}: {e}");
            }
            if let Key::Listen(_, Address::Unix(path)) = &key
                && let Err(e) = remove_stale(path)
            {
                warn!("{name}: {e}");
            }
        }
        if self.sockets.is_empty() {
            self.forget_holder();
        }
    }
}

fn open(address: &Address, mode: u32) -> io::Result<OwnedFd> {
    match address {
        Address::Tcp(ip, port) => sys::inet(*ip, *port, true),
        Address::Udp(ip, port) => sys::inet(*ip, *port, false),
        Address::Unix(path) => {
            let above = Path::new(path).parent().unwrap_or(Path::new("/"));
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(above)?;
            remove_stale(path)?;
            let socket = sys::unix(path, mode)?;
            // What the umask took away.
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
            Ok(socket)
        }
    }
}

/// Removes a socket that nobody listens on any more: who made it has ended without removing it. Anything else is left, and
/// is in the way of a new one.
fn remove_stale(path: &str) -> io::Result<()> {
    if !is_socket(path) {
        return Ok(());
    }
    match sys::is_served(path) {
        Ok(true) => Ok(()),
        Ok(false) => std::fs::remove_file(path),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn is_socket(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
}

/// What the holder calls it.
fn name(key: &Key) -> String {
    match key {
        Key::Listen(service, address) => format!("listen {service} {address}"),
        Key::Notify(run) => format!("notify {run}"),
    }
}

fn key(name: &str) -> Option<Key> {
    match name.split_once(' ')? {
        ("listen", rest) => {
            let (service, address) = rest.split_once(' ')?;
            Some(Key::Listen(service.parse().ok()?, Address::parse(address).ok()?))
        }
        ("notify", run) => Some(Key::Notify(run.parse().ok()?)),
        _ => None,
    }
}

impl Shop {
    /// The sockets of a run, in the order of its service file.
    pub(super) async fn sockets(&self, job: &Job) -> Result<Vec<OwnedFd>, (String, String)> {
        let Service { name, listen, .. } = &*job.service;
        let mut fds = Vec::new();
        if listen.is_empty() {
            return Ok(fds);
        }
        let mut all = self.held.all.lock().await;
        for listen in listen {
            fds.push(all.open(name, listen).await?);
        }
        // It can listen all the same; what is lost is only that this outlives the daemon.
        if let Err(e) = all.keep_also(name, listen).await {
            all.forget_holder();
            let text = format!("its sockets end with the daemon: {e}");
            self.done.send(Done::Tell(job.run.clone(), "sockets-unkept", text)).ok();
        }
        Ok(fds)
    }

    /// Has the notify socket of a run held as well; what is lost without that is only what is told while no daemon is there.
    pub(super) async fn hold_notify(&self, run: &RunId, socket: OwnedFd) {
        let mut all = self.held.all.lock().await;
        let key = Key::Notify(run.clone());
        let name = name(&key);
        all.sockets.push((key, socket));
        let put = match (&all.holder, all.sockets.last()) {
            (Some((holder, _)), Some((_, fd))) => holder.put(&name, fd).await,
            _ => all.keep().await,
        };
        if let Err(e) = put {
            warn!("{name}: {e}");
            all.forget_holder();
        }
    }

    async fn close_unwanted(self) {
        self.held.all.lock().await.close_all_but(&self.held.wanted).await;
    }

    /// Starts a holder where there is none and one is needed.
    async fn hold_again(self, gone: bool) {
        let mut all = self.held.all.lock().await;
        if gone {
            all.forget_holder();
        }
        if let Err(e) = all.keep().await {
            warn!("no process holds the sockets of services, they end with the daemon: {e}");
            all.forget_holder();
        }
    }
}

impl Owner {
    /// Takes back what an earlier daemon held; what nobody wants is closed by the first look at all services.
    /// Gives the notify sockets of runs.
    pub(super) async fn restore_held(&mut self) -> Vec<(RunId, OwnedFd)> {
        let mut all = self.shop.held.all.lock().await;
        if let Err(e) = all.restore().await {
            warn!("the sockets that an earlier daemon held: {e}");
        }
        let keys = all.sockets.iter().map(|(key, _)| key.clone());
        self.shop.held.wanted.replace(keys.collect());
        let notify = |(key, fd): &(Key, OwnedFd)| match key {
            Key::Notify(run) => Some((run.clone(), fd.try_clone().ok()?)),
            Key::Listen(..) => None,
        };
        all.sockets.iter().filter_map(notify).collect()
    }

    /// Closes what nobody wants any more.
    pub(super) fn close_unwanted(&mut self) {
        let wanted = self.wanted_sockets();
        if *self.shop.held.wanted.borrow() != wanted {
            self.shop.held.wanted.replace(wanted);
            tokio::task::spawn_local(self.shop.clone().close_unwanted());
        }
    }

    /// The same at the end of the daemon: what was begun would not be ended.
    pub(super) async fn close_unwanted_at_last(&mut self) {
        let wanted = self.wanted_sockets();
        self.shop.held.wanted.replace(wanted);
        if tokio::time::timeout(LAST, self.shop.clone().close_unwanted()).await.is_err() {
            warn!("the holder of sockets does not answer; it is asked again by the next daemon");
        }
    }

    /// A holder is there again, if one is needed. `gone`: the one that was there is not any more.
    pub(super) fn hold_again(&mut self, gone: bool) {
        tokio::task::spawn_local(self.shop.clone().hold_again(gone));
    }

    /// Those of every instance that is there or about to come: also between two runs nobody's connection is refused.
    fn wanted_sockets(&self) -> BTreeSet<Key> {
        let comes = |s: &Slot| s.machine.up && !matches!(s.machine.state, State::Done { .. });
        let mut all = BTreeSet::new();
        for (instance, slot) in &self.slots {
            let run = slot.made_from.as_ref().filter(|_| slot.machine.run().is_some()).map(|(s, _)| s);
            let next = self.in_force(instance).map(|f| &f.service).filter(|_| comes(slot));
            for service in run.into_iter().chain(next) {
                let key = |l: &Listen| Key::Listen(instance.service.clone(), l.address.clone());
                all.extend(service.listen.iter().map(key));
            }
            let told = slot.machine.run().zip(run).filter(|(_, service)| tells(service));
            all.extend(told.map(|(run, _)| Key::Notify(run.clone())));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for address in ["tcp:80", "udp:[::1]:53", "unix:/run/a b"] {
            let key = Key::Listen("web".parse().unwrap(), Address::parse(address).unwrap());
            assert_eq!(super::key(&name(&key)), Some(key));
        }
        let notify = Key::Notify("web.1.3".parse().unwrap());
        assert_eq!(key(&name(&notify)), Some(notify));
        assert_eq!((key("listen web"), key("listen web tcp:x"), key("other web tcp:1")), (None, None, None));
    }

    #[test]
    fn only_a_stale_socket_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let open = |name: &str| open(&Address::Unix(path(name)), 0o622);
        let socket = open("a/b/s").unwrap();
        assert_eq!(std::fs::metadata(path("a/b/s")).unwrap().permissions().mode() & 0o777, 0o622);
        assert_eq!(open("a/b/s").unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(socket);
        assert!(is_socket(&path("a/b/s")));
        drop(open("a/b/s").unwrap());
        remove_stale(&path("a/b/s")).unwrap();
        assert!(!is_socket(&path("a/b/s")));
        std::fs::write(path("file"), "x").unwrap();
        assert_eq!(open("file").unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(std::fs::read(path("file")).unwrap(), b"x");
    }
}
