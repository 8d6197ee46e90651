//! Plugins of our own that write down how they were called, and the standard ones in network namespaces of the test.

use std::os::unix::fs::PermissionsExt;
use std::process::Command as Program;

use super::*;
use crate::unit::test_dir::TestDir;

struct Net {
    dir: TestDir,
    dirs: Dirs,
    place: Place,
    run: RunId,
}

impl Net {
    fn new(name: &str) -> Net {
        let dir = TestDir::new(name);
        for sub in ["net.d", "bin"] {
            std::fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let dirs = Dirs { services: dir.join("etc"), state: dir.join("state"), run: dir.join("run") };
        let plugins = vec![dir.join("bin"), "/usr/lib/cni".into()];
        let place = Place { configs: dir.join("net.d"), plugins, patience: Duration::from_secs(20) };
        Net { dir, dirs, place, run: "web.1.3".parse().unwrap() }
    }

    fn network(&self, name: &str, plugins: &str) {
        let text = format!(r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{plugins}]}}"#);
        std::fs::write(self.dir.join(format!("net.d/{name}.conflist")), text).unwrap();
    }

    /// A plugin that writes down its name, its call and whether it got a previous result, then runs `more`.
    fn plugin(&self, name: &str, more: &str) {
        let log = self.dir.join("log").display().to_string();
        let text = format!(
            "#!/bin/sh\nc=$(cat)\ncase $c in *prevResult*) p=prev;; *) p=first;; esac\n\
             echo \"{name} $CNI_COMMAND $CNI_IFNAME $CNI_CONTAINERID ${{CNI_NETNS:-gone}} $p\" >> {log}\n{more}\n"
        );
        let path = self.dir.join("bin").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        std::fs::remove_file(self.dir.join("log")).ok();
        text
    }

    fn attach(&self, networks: &[&str], netns: &str) -> Result<Vec<Attached>, String> {
        let networks: Vec<String> = networks.iter().map(|n| (*n).to_owned()).collect();
        block(attach_at(&self.place, &networks, &self.run, Path::new(netns), &self.dirs))
    }

    fn detach(&self, netns: Option<&str>) -> Result<(), String> {
        block(detach_at(&self.place, &self.run, netns.map(Path::new), &self.dirs))
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

const RESULT: &str = r#"echo '{"cniVersion":"1.0.0","ips":[{"address":"10.9.0.5/24"}]}'"#;

#[test]
fn plugins_are_called_in_order_and_back() {
    let net = Net::new("cni-order");
    net.plugin("a", RESULT);
    net.plugin("b", RESULT);
    net.network("one", r#"{"type":"a"},{"type":"b"}"#);
    net.network("two", r#"{"type":"a"}"#);
    let attached = net.attach(&["one", "two"], "/ns").unwrap();
    let wanted = |network: &str, interface: &str| Attached {
        network: network.into(),
        interface: interface.into(),
        addresses: vec!["10.9.0.5/24".into()],
    };
    assert_eq!(attached, [wanted("one", "eth0"), wanted("two", "eth1")]);
    assert_eq!(
        net.log(),
        "a ADD eth0 web.1.3 /ns first\nb ADD eth0 web.1.3 /ns prev\na ADD eth1 web.1.3 /ns first\n"
    );
    assert_eq!(recorded(&net.dirs), std::slice::from_ref(&net.run));
    // What was set up is taken down, whatever the configuration says now.
    std::fs::remove_dir_all(&net.place.configs).unwrap();
    net.detach(None).unwrap();
    assert_eq!(
        net.log(),
        "a DEL eth1 web.1.3 gone prev\nb DEL eth0 web.1.3 gone prev\na DEL eth0 web.1.3 gone prev\n"
    );
    assert!(recorded(&net.dirs).is_empty());
    net.detach(None).unwrap();
    assert_eq!(net.log(), "");
}

#[test]
fn a_failure_takes_everything_down_and_says_what_the_plugin_said() {
    let net = Net::new("cni-fail");
    net.plugin("a", RESULT);
    let failing =
        r#"[ $CNI_COMMAND = DEL ] || { echo '{"code":7,"msg":"no bridge","details":"none left"}'; exit 1; }"#;
    net.plugin("bad", failing);
    net.network("good", r#"{"type":"a"}"#);
    net.network("bad", r#"{"type":"a"},{"type":"bad"}"#);
    let e = net.attach(&["good", "bad"], "/ns").unwrap_err();
    assert_eq!(e, "network bad: bad ADD: no bridge: none left");
    let calls = net.log();
    assert!(calls.contains("bad DEL eth1") && calls.ends_with("a DEL eth0 web.1.3 /ns prev\n"), "{calls}");
    assert!(recorded(&net.dirs).is_empty());
}

#[test]
fn what_cannot_be_taken_down_stays_recorded() {
    let net = Net::new("cni-stuck");
    net.plugin("a", "[ $CNI_COMMAND = ADD ] || { echo oops >&2; exit 3; }; echo '{}'");
    net.network("one", r#"{"type":"a"}"#);
    net.attach(&["one"], "/ns").unwrap();
    assert_eq!(net.detach(None).unwrap_err(), "network one: a DEL: oops");
    assert_eq!(recorded(&net.dirs), std::slice::from_ref(&net.run));
    net.plugin("a", "");
    net.detach(None).unwrap();
    assert!(recorded(&net.dirs).is_empty());
}

#[test]
fn bad_networks_and_plugins() {
    let mut net = Net::new("cni-bad");
    net.place.patience = Duration::from_millis(300);
    net.plugin("mute", "exit 1");
    net.plugin("chatty", "echo no json");
    net.plugin("slow", "[ $CNI_COMMAND = DEL ] || exec sleep 60");
    net.network("gone", r#"{"type":"not-installed"}"#);
    net.network("evil", r#"{"type":"../../bin/sh"}"#);
    net.network("empty", "");
    net.network("odd", "3");
    net.network("mute", r#"{"type":"mute"}"#);
    net.network("chatty", r#"{"type":"chatty"}"#);
    net.network("slow", r#"{"type":"slow"}"#);
    std::fs::write(net.dir.join("net.d/broken.conflist"), "{").unwrap();
    for (network, why) in [
        ("unheard", "no .conflist of this name"),
        ("broken", "broken.conflist: EOF"),
        ("gone", "no plugin not-installed in"),
        ("evil", "is not the type of a plugin"),
        ("empty", "no list of plugins"),
        ("odd", "no list of plugins"),
        ("mute", "failed without a word"),
        ("chatty", "answered no result"),
        ("slow", "no answer within 0.3 s, killed"),
    ] {
        let e = net.attach(&[network], "/ns").unwrap_err();
        assert!(e.contains(why) && !e.contains('\n'), "{network}: {e}");
        let stays = ["mute"].contains(&network);
        assert_eq!(recorded(&net.dirs).is_empty(), !stays, "{network}");
        std::fs::remove_dir_all(net.dirs.state.join("cni")).ok();
    }
}

#[test]
fn killed_in_the_middle_begins_again() {
    let net = Net::new("cni-again");
    net.plugin("a", RESULT);
    net.network("one", r#"{"type":"a"}"#);
    let config = find(&net.place.configs, "one").unwrap();
    let record = Record { network: "one".into(), interface: "eth0".into(), config, called: 1, result: None };
    let dir = directory(&net.run, &net.dirs);
    write(&dir.join("000"), &record).unwrap();
    std::fs::write(dir.join("001.new"), "{half").unwrap();
    net.attach(&["one"], "/ns").unwrap();
    assert_eq!(net.log(), "a DEL eth0 web.1.3 /ns first\na ADD eth0 web.1.3 /ns first\n");
}

/// Whether this run of the tests is the one inside the namespaces that [`the_standard_plugins`] makes.
const INSIDE: &str = "KNARR_TEST_INSIDE";

#[test]
fn the_standard_plugins() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let missing = ["/usr/lib/cni/bridge", "/usr/lib/cni/host-local", "/usr/bin/unshare"];
    if let Some(missing) = missing.iter().find(|p| !Path::new(p).exists()) {
        return eprintln!("skipped: no {missing}");
    }
    // The bridge and everything else the plugins make on the host stays in a network namespace of this test.
    let output = Program::new("unshare")
        .args(["--net", "--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "cni::tests::the_standard_plugins", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed") {
        return eprintln!("skipped: {said}");
    }
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
}

fn inside() {
    let net = Net::new("cni-standard");
    let leases = net.dir.join("leases");
    let bridge = format!(
        r#"{{"type":"bridge","bridge":"knarr0","isGateway":true,"ipam":{{"type":"host-local","dataDir":"{}",
            "ranges":[[{{"subnet":"10.98.7.0/24"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}},{{"type":"tuning"}}"#,
        leases.display()
    );
    net.network("lan", &bridge);
    // The container: a network namespace that a process holds.
    let mut holder = Program::new("unshare").args(["--net", "sleep", "60"]).spawn().unwrap();
    let netns = format!("/proc/{}/ns/net", holder.id());
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    while std::fs::read_link(&netns).is_ok_and(|ns| ns == own) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let address = |netns: &str| {
        let args = [&format!("--net={netns}"), "ip", "-o", "-4", "addr", "show", "dev", "eth0"];
        String::from_utf8(Program::new("nsenter").args(args).output().unwrap().stdout).unwrap()
    };
    let attached = net.attach(&["lan"], &netns).unwrap();
    let lease = leases.join("lan/10.98.7.2");
    let (seen, leased) = (address(&netns), lease.exists());
    let detached = net.detach(Some(&netns));
    let (after, still) = (address(&netns), lease.exists());
    let again = net.attach(&["lan"], &netns);
    holder.kill().unwrap();
    holder.wait().unwrap();
    // The namespace is gone: its lease goes as well.
    let late = net.detach(None);
    assert_eq!(
        (attached[0].interface.as_str(), attached[0].addresses.as_slice()),
        ("eth0", &["10.98.7.2/24".to_owned()][..])
    );
    assert!(seen.contains("10.98.7.2/24") && leased, "{seen}");
    assert_eq!(detached, Ok(()));
    assert!(after.is_empty() && !still, "{after}");
    assert_eq!(again.unwrap()[0].addresses, ["10.98.7.3/24"]);
    assert_eq!(late, Ok(()));
    assert!(!leases.join("lan/10.98.7.3").exists());
}
