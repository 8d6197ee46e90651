//! The daemon among the other programs of a host: its service manager, and the plugins of networks.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::sup;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::oracle;
use crate::run::Unavailable;

pub fn cases() -> Vec<Case> {
    vec![
        sup("host.service-manager", "sd_notify(3), sd_watchdog_enabled(3)").daemon(|d| {
            let words = as_service(d, "300000")?;
            ensure!(words.recv_until("READY=1")?, "it is never ready");
            // Whoever was told that it is ready can ask it at once.
            d.get("/v1/version")?;
            for n in 1..=3 {
                ensure!(words.recv_until("WATCHDOG=1")?, "the watchdog was fed {} times", n - 1);
            }
            d.end()?;
            ensure!(words.recv_until("STOPPING=1")?, "it does not say that it stops");
            d.env.clear();
            d.start()
        }),
        sup("host.watchdog-by-pid", "sd_watchdog_enabled(3)").daemon(|d| {
            let script = "export WATCHDOG_PID=$$; exec \"$@\"";
            d.before = ["/bin/sh", "-c", script, "sh"].map(String::from).to_vec();
            let words = as_service(d, "300000")?;
            ensure!(words.recv_until("WATCHDOG=1")?, "the watchdog is not fed");
            Ok(())
        }),
        sup("host.no-watchdog", "sd_watchdog_enabled(3)").daemon(|d| {
            // A watchdog of another process is not fed.
            d.env.push(("WATCHDOG_PID", "1".into()));
            let words = as_service(d, "300000")?;
            ensure!(words.recv_until("READY=1")?, "it is never ready");
            thread::sleep(Duration::from_millis(500));
            ensure!(!words.has_now("WATCHDOG=1")?, "it feeds the watchdog of process 1");
            Ok(())
        }),
        sup("host.manager-is-not-for-services", "environment").daemon(|d| {
            let words = as_service(d, "30000000")?;
            d.service("a", &["env"], "[restart]\npolicy = 'no'\n")?;
            d.until("a.1", "exited")?;
            let lines = d.log("a.1")?;
            ensure!(!lines.is_empty(), "it printed nothing");
            let told = lines.iter().find(|l| l.starts_with("NOTIFY_") || l.starts_with("WATCHDOG_"));
            ensure!(told.is_none(), "the program sees {told:?}");
            drop(words);
            Ok(())
        }),
        sup("host.cni-network", "CNI networks").seconds(40).daemon(|d| {
            in_own_network(d)?;
            d.service("a", &["all", "net", "--", "trap", "TERM"], "network = { cni = ['kn-test'] }\n")?;
            d.until("a.1", "running")?;
            d.says("a.1", "ready")?;
            let seen = d.log("a.1")?;
            let up = |name: &str| seen.iter().find(|l| l.starts_with(&format!("{name} UP")));
            ensure!(up("lo").is_some(), "loopback is not up: {seen:?}");
            ensure!(
                up("eth0").is_some_and(|l| l.contains(" 10.88.77.")),
                "no eth0 with an address: {seen:?}"
            );
            let taken = || oracle::names(&d.t.dir.join("ipam/kn-test"));
            let address = |name: &String| name.starts_with("10.88.77.");
            ensure!(taken().iter().any(address), "no address was taken: {:?}", taken());
            d.post("/v1/services/a/stop?wait=true")?;
            ensure!(!taken().iter().any(address), "the address is not given back: {:?}", taken());
            let left = oracle::names(&d.state.join("cni"));
            ensure!(left.is_empty(), "records of networks are left: {left:?}");
            Ok(())
        }),
        sup("host.cni-network-of-a-dead-daemon", "CNI networks").seconds(40).daemon(|d| {
            in_own_network(d)?;
            d.service("a", &["trap", "TERM"], "network = { cni = ['kn-test'] }\n")?;
            d.until("a.1", "running")?;
            d.kill9()?;
            // Without the service file the run is nobody's.
            fs::remove_file(d.services.join("a.toml"))?;
            d.start()?;
            let taken = || oracle::names(&d.t.dir.join("ipam/kn-test"));
            let until = Instant::now() + Duration::from_secs(d.t.seconds());
            while taken().iter().any(|n| n.starts_with("10.88.77.")) {
                ensure!(Instant::now() < until, "the address is not given back: {:?}", taken());
                thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        }),
        sup("host.cni-network-unknown", "CNI networks").daemon(|d| {
            in_own_network(d)?;
            d.service("a", &["trap", "TERM"], "network = { cni = ['kn-none'] }\n[restart]\npolicy = 'no'\n")?;
            d.until("a.1", "failed")?;
            d.explains("a", &["(network)", "kn-none"])
        }),
    ]
}

/// What a daemon tells its service manager.
struct Words(UnixDatagram);

impl Words {
    /// Waits until this assignment comes; false = it does not.
    fn recv_until(&self, wanted: &str) -> Result<bool> {
        let mut buf = [0; 4096];
        loop {
            match self.0.recv(&mut buf) {
                Ok(n) if has(&buf[..n], wanted) => return Ok(true),
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e).context("the socket of the service manager"),
            }
        }
    }

    /// Whether this assignment has come by now.
    fn has_now(&self, wanted: &str) -> Result<bool> {
        self.0.set_read_timeout(Some(Duration::from_millis(1)))?;
        self.recv_until(wanted)
    }
}

fn has(message: &[u8], wanted: &str) -> bool {
    message.split(|b| *b == b'\n').any(|line| line == wanted.as_bytes())
}

/// Starts the daemon again as a service manager does, with a watchdog of so many microseconds.
fn as_service(d: &mut Daemon<'_, '_>, watchdog: &str) -> Result<Words> {
    d.end()?;
    let path = d.t.dir.join("notify");
    let socket = UnixDatagram::bind(&path).context("the socket of the service manager")?;
    socket.set_read_timeout(Some(Duration::from_secs(d.t.seconds())))?;
    d.env.push(("NOTIFY_SOCKET", path.display().to_string()));
    d.env.push(("WATCHDOG_USEC", watchdog.into()));
    d.start()?;
    Ok(Words(socket))
}

/// Starts the daemon again in a network namespace of its own, with one network: an address each, no bridge, no masquerade.
pub(super) fn in_own_network(d: &mut Daemon<'_, '_>) -> Result<()> {
    for program in ["ptp", "host-local"] {
        let there = ["/opt/cni/bin", "/usr/lib/cni"].iter().any(|dir| Path::new(dir).join(program).exists());
        if !there {
            return Err(Unavailable("program:cni".into()).into());
        }
    }
    d.end()?;
    let configs = Path::new("/etc/cni/net.d");
    if !configs.is_dir() {
        return Err(Unavailable("program:cni".into()).into());
    }
    // The mount is of the suite's own mount namespace and goes with the case.
    d.tmpfs(configs, "size=64k")?;
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "kn-test",
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "subnet": "10.88.77.0/24",
                "dataDir": d.t.dir.join("ipam").display().to_string(),
            },
        }],
    });
    fs::write(configs.join("10-kn-test.conflist"), list.to_string())?;
    d.before = ["/usr/bin/unshare", "--net"].map(String::from).to_vec();
    d.start()
}
