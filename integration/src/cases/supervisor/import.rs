//! Files of others made into service files: what comes of them runs, and what does not is listed.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::sup;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::images::{Image, pack};

pub fn cases() -> Vec<Case> {
    vec![
        sup("import.compose-runs", "import compose: the services run").daemon(|d| {
            bring(d, "shop/web:1")?;
            let file = d.t.dir.join("compose.yaml");
            fs::create_dir(d.t.dir.join("data"))?;
            fs::write(
                &file,
                "services:\n  web:\n    image: shop/web:1\n    command: [/probe, all, env, --, ls, /data, --, trap, TERM]\n    environment: { MODE: fast }\n    volumes: ['./data:/data:ro']\n    mem_limit: 64m\n    depends_on: [db]\n    container_name: x\n  db:\n    image: shop/web:1\n    healthcheck: { test: [CMD, /probe, 'true'], interval: 1s }\n",
            )?;
            fs::write(d.t.dir.join("data/here"), "")?;
            let (from, to) = (file.display().to_string(), d.services.display().to_string());
            let out = d.ctl(&["import", "compose", &from, "--to", &to])?.ok()?;
            ensure!(out.stderr.contains("left out: web: container_name: an instance is called"), "{}", out.stderr);
            d.apply()?;
            d.ready("db.1")?;
            d.ready("web.1")?;
            d.says("web.1", "MODE=fast")?;
            d.says("web.1", "here")?;
            let limit = d.is("web.1", "running")?["memory_limit"].clone();
            ensure!(limit == 64 << 20 || limit.is_null(), "its limit is {limit}");
            // A second time nothing is written over.
            let out = d.ctl(&["import", "compose", &from, "--to", &to])?.exits(6)?;
            ensure!(out.stderr.contains("is there already"), "{}", out.stderr);
            Ok(())
        }),
        sup("import.pod-runs", "import static-pod: a pod's parts and their order").daemon(|d| {
            bring(d, "shop/web:1")?;
            let file = d.t.dir.join("pod.yaml");
            let container = |name: &str, command: Value| json!({"name": name, "image": "shop/web:1", "command": command});
            let pod = json!({
                "kind": "Pod", "metadata": {"name": "shop"},
                "spec": {
                    "initContainers": [container("first", json!(["/probe", "exit", "0"]))],
                    "containers": [
                        container("web", json!(["/probe", "trap", "TERM"])),
                        container("beside", json!(["/probe", "trap", "TERM"])),
                    ],
                    "volumes": [],
                },
            });
            // JSON is YAML.
            fs::write(&file, pod.to_string())?;
            let told: Value = d.ctl(&["import", "static-pod", &file.display().to_string(), "--json"])?.ok()?.json()?;
            for service in told["services"].as_array().context("services")? {
                let of = |key: &str| service[key].as_str().unwrap_or_default().to_owned();
                d.write(&of("name"), &of("text"))?;
            }
            d.apply()?;
            d.ready("shop.1")?;
            d.is("shop-beside.1", "running")?;
            d.until_it("shop-first.1", "done", |i| i["last_exit"] == 0).map(drop)
        }),
        sup("import.quadlet-and-bundle", "import quadlet and runc-bundle").daemon(|d| {
            bring(d, "shop/web:1")?;
            let file = d.t.dir.join("web.container");
            fs::write(&file, "[Unit]\nDescription=A shop\n[Container]\nImage=shop/web:1\nExec=/probe all env -- \\\n  trap TERM\nEnvironment=MODE=fast\nAutoUpdate=registry\n[Service]\nRestart=always\n")?;
            let out = d.ctl(&["import", "quadlet", &file.display().to_string()])?.ok()?;
            ensure!(out.stderr.contains("left out: web: [Container] AutoUpdate: "), "{}", out.stderr);
            let text = out.stdout.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n");
            d.write("web", &text)?;
            let bundle = d.t.dir.join("own");
            super::restart::copy_bundle(d, &bundle)?;
            let to = d.services.display().to_string();
            d.ctl(&["import", "runc-bundle", &bundle.display().to_string(), "--to", &to])?.ok()?;
            d.apply()?;
            d.ready("web.1")?;
            d.says("web.1", "MODE=fast")?;
            d.ready("own.1").map(drop)
        }),
        sup("import.refused", "import: what is none, with the reason").daemon(|d| {
            let file = d.t.dir.join("file");
            for (kind, text, why) in [
                ("compose", "services: [", "line 1"),
                ("compose", "services: { web: { build: . } }", "has no image"),
                ("static-pod", "kind: Deployment", "want `kind: Pod`"),
                ("quadlet", "[Service]\nRestart=no\n", "no section [Container]"),
                ("runc-bundle", "", "config.json"),
            ] {
                fs::write(&file, text)?;
                let to = d.services.display().to_string();
                let out = d.ctl(&["import", kind, &file.display().to_string(), "--to", &to])?.exits(1)?;
                ensure!(out.stderr.contains(why), "{kind}: {}", out.stderr);
            }
            let left = crate::oracle::names(&d.services);
            ensure!(left.is_empty(), "written: {left:?}");
            d.ctl(&["import", "toml", &file.display().to_string()])?.exits(2).map(drop)
        }),
    ]
}

/// An image of the probe.
fn bring(d: &mut Daemon<'_, '_>, name: &str) -> Result<()> {
    let config = json!({ "Entrypoint": ["/probe"], "Cmd": ["trap", "TERM"] });
    let image = Image::of_probe(name, &d.t.yard.probe, config, &[])?;
    let path = d.t.dir.join("image.tar");
    fs::write(&path, pack(&image.oci()))?;
    let (state, run) = (d.state.display().to_string(), d.run.display().to_string());
    d.ctl(&["image", "import", &path.display().to_string(), "--state", &state, "--run", &run])?.ok().map(drop)
}
