//! Network interfaces that a container is given: `linux.netDevices`. The runtime runs in a network namespace of the case's
//! own, so that the machine's is not touched.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::base;
use crate::case::{Case, case};
use crate::host::{Need, find_program};
use crate::os;
use crate::trial::{Out, Running, Trial};

const SPEC: &str = "config-linux.md#network-devices";

/// A network namespace that lives as long as this, with a pair of interfaces: `kn0`, up and with addresses, and `kn1`.
struct Net(Running);

impl Net {
    fn new(t: &mut Trial<'_>) -> Result<Net> {
        let words = ["100000".to_string()];
        let sleep = find_program("sleep").context("no sleep")?;
        let holder = t.command(&sleep, &words);
        let net = Net(holder.adjust(|c| os::isolate(c, nix::sched::CloneFlags::CLONE_NEWNET)).spawn()?);
        for line in [
            "link add kn0 type veth peer name kn1",
            "link set kn0 address 02:00:00:00:00:77 mtu 1400",
            "addr add 10.9.8.7/24 brd 10.9.8.255 dev kn0",
            "addr add 10.9.9.9/24 dev kn0 scope link",
            "addr add fd00:9::7/64 dev kn0 nodad",
            "link set kn0 up",
        ] {
            net.ip(t, line)?.ok()?;
        }
        Ok(net)
    }

    fn handle(&self) -> Result<OwnedFd> {
        Ok(std::fs::File::open(format!("/proc/{}/ns/net", self.0.pid()))?.into())
    }

    fn ip(&self, t: &mut Trial<'_>, line: &str) -> Result<Out> {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        let ip = find_program("ip").context("no ip")?;
        let netns = self.handle()?;
        t.command(&ip, &words).adjust(|c| os::enter_net(c, netns)).run()
    }

    fn rt(&self, t: &mut Trial<'_>, args: &[&str]) -> Result<Out> {
        t.write_config()?;
        let netns = self.handle()?;
        let (bundle, id) = (t.bundle.display().to_string(), t.id.clone());
        let all: Vec<&str> = args.iter().copied().chain(["--bundle", &bundle, &id]).collect();
        t.rt(&all).adjust(|c| os::enter_net(c, netns)).run()
    }
}

/// What a shell in the container does.
fn script(t: &mut Trial<'_>, text: &str) {
    t.spec["process"]["args"] = json!(["/bin/sh", "-c", text]);
}

fn story(name: &str, tell: impl Fn(&mut Trial<'_>, Net) -> Result<()> + 'static) -> Case {
    case(name).checks(SPEC).needs([Need::Busybox, Need::Veth]).steps(move |t| {
        base::capabilities(&mut t.spec, &["CAP_NET_ADMIN", "CAP_NET_RAW"]);
        let net = Net::new(t)?;
        tell(t, net)
    })
}

/// All of this subject.
pub fn cases() -> Vec<Case> {
    let mut all = moved();
    all.extend(failed());
    all.extend(refused());
    all
}

fn moved() -> Vec<Case> {
    vec![
        story("netdev.moved", |t, net| {
            t.spec["linux"]["netDevices"] = json!({"kn0": {}});
            script(t, "busybox ip addr show kn0");
            let out = net.rt(t, &["run"])?.ok()?.stdout;
            for want in ["10.9.8.7/24 brd 10.9.8.255", "fd00:9::7/64", "mtu 1400", "02:00:00:00:00:77", ",UP"]
            {
                ensure!(out.contains(want), "no {want:?}: {out}");
            }
            ensure!(!out.contains("10.9.9.9"), "an address of the link came along: {out}");
            ensure!(net.ip(t, "link show kn0")?.code != Some(0), "it is still outside");
            Ok(())
        }),
        story("netdev.renamed", |t, net| {
            t.spec["linux"]["netDevices"] = json!({"kn0": {"name": "eth7"}, "kn1": {"name": "side"}});
            script(t, "busybox ip -o link | busybox cut -d: -f2 | busybox cut -d@ -f1");
            let out = net.rt(t, &["run"])?.ok()?.stdout;
            let names: Vec<&str> = out.split_whitespace().collect();
            ensure!(names.len() == 3 && ["lo", "eth7", "side"].iter().all(|n| names.contains(n)), "{out}");
            Ok(())
        }),
        story("netdev.numbered", |t, net| {
            t.spec["linux"]["netDevices"] = json!({"kn0": {"name": "eth%d"}, "kn1": {"name": "eth%d"}});
            script(t, "busybox ip -o link | busybox grep -c eth[01]");
            net.rt(t, &["run"])?.ok()?.prints("2\n")?;
            Ok(())
        }),
        story("netdev.sysctl-of-the-interface", |t, net| {
            t.spec["linux"]["netDevices"] = json!({"kn0": {"name": "eth0"}});
            t.spec["linux"]["sysctl"] = json!({"net.ipv4.conf.eth0.forwarding": "1"});
            script(t, "busybox cat /proc/sys/net/ipv4/conf/eth0/forwarding");
            net.rt(t, &["run"])?.ok()?.prints("1\n")?;
            Ok(())
        }),
        story("netdev.there-before-hooks", |t, net| {
            t.spec["linux"]["netDevices"] = json!({"kn0": {"name": "eth0"}});
            let seen = t.dir.join("seen");
            let look = format!(
                "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); cat /proc/$pid/net/dev > {}",
                seen.display()
            );
            t.spec["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", look],
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}]});
            script(t, "true");
            net.rt(t, &["run"])?.ok()?;
            let seen = std::fs::read_to_string(&seen)?;
            ensure!(seen.contains("eth0:"), "the hook saw {seen}");
            Ok(())
        }),
        story("netdev.joined-namespace", |t, net| {
            let holder = Net::new(t)?;
            let path = format!("/proc/{}/ns/net", holder.0.pid());
            base::namespace(&mut t.spec, "network", Some(&path));
            t.spec["linux"]["netDevices"] = json!({"kn0": {"name": "given"}});
            script(t, "busybox ip -4 addr show given");
            let out = net.rt(t, &["run"])?.ok()?.stdout;
            ensure!(out.contains("10.9.8.7/24"), "{out}");
            // It belongs to that namespace now, which outlives the container.
            holder.ip(t, "link show given")?.ok()?;
            Ok(())
        }),
    ]
}

/// A container that is not made takes nothing along.
fn failed() -> Vec<Case> {
    let back = |t: &mut Trial<'_>, net: &Net| -> Result<()> {
        let out = net.ip(t, "addr show kn0")?.ok()?.stdout;
        ensure!(out.contains("10.9.8.7/24") && out.contains(",UP"), "it is not as it was: {out}");
        Ok(())
    };
    vec![
        story("netdev.taken-back-after-a-failed-hook", move |t, net| {
            t.spec["linux"]["netDevices"] = json!({"kn0": {"name": "eth0"}});
            t.spec["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
            net.rt(t, &["run"])?.fails()?;
            back(t, &net)
        }),
        story("netdev.name-taken", move |t, net| {
            let holder = Net::new(t)?;
            let path = format!("/proc/{}/ns/net", holder.0.pid());
            base::namespace(&mut t.spec, "network", Some(&path));
            t.spec["linux"]["netDevices"] = json!({"kn0": {}});
            net.rt(t, &["run"])?.fails()?.says("kn0")?;
            back(t, &net)?;
            holder.ip(t, "link show kn0")?.ok()?;
            Ok(())
        }),
        story("netdev.absent", move |t, net| {
            t.spec["linux"]["netDevices"] = json!({"kn0": {}, "kn9": {}});
            net.rt(t, &["run"])?.fails()?.says("kn9")?;
            back(t, &net)
        }),
    ]
}

fn refused() -> Vec<Case> {
    let fault = |name: &str, edit: fn(&mut Value), at: &str, text: &str| {
        case(name).checks(SPEC).wrong(edit).refused(at, text)
    };
    vec![
        fault(
            "netdev.no-such-interface",
            |s| s["linux"]["netDevices"] = json!({"kn-none": {}}),
            "/linux/netDevices/kn-none",
            "no such interface",
        ),
        fault(
            "netdev.without-namespace",
            |s| {
                base::no_namespace(s, "network");
                s["linux"]["netDevices"] = json!({"kn-none": {}});
            },
            "/linux/netDevices",
            "network namespace",
        ),
        fault(
            "netdev.bad-name",
            |s| s["linux"]["netDevices"] = json!({"kn-none": {"name": "a/b"}}),
            "/linux/netDevices/kn-none/name",
            "a/b",
        ),
    ]
}
