//! What proxies make of the list of ready instances: the line of docs/endpoints.md, run on the file of a real daemon.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::host::in_own_network;
use super::sup;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::host::Need;
use crate::trial::wait_for;

const PAGE: &str = include_str!("../../../../docs/endpoints.md");

pub fn cases() -> Vec<Case> {
    vec![
        sup("probe.endpoints-to-nginx", "docs/endpoints.md").needs([Need::Program("jq")]).seconds(60).daemon(
            |d| {
                let list = d.t.dir.join("endpoints.json");
                d.options = vec!["--endpoints".into(), list.display().to_string()];
                in_own_network(d)?;
                let keys = "replicas = 2\nports = [8080, 9090]\nnetwork = { cni = ['kn-test'] }\n\
            [probes.readiness]\nhttp = { port = 8080, path = '/health' }\nperiod = '200ms'\n";
                d.write("web", &d.text(&["serve", "8080"], keys))?;
                // Without an address it is no server for a proxy.
                d.write("alone", &d.text(&["trap", "TERM"], "ports = [80]\n"))?;
                d.apply()?;
                let servers = || -> Result<Vec<String>> {
                    let text = upstreams(&list)?;
                    let lines: Vec<&str> = text.lines().collect();
                    let Some((first, rest)) = lines.split_first() else { return Ok(Vec::new()) };
                    ensure!(
                        *first == "upstream web {" && rest.first() == Some(&"    zone web 64k;"),
                        "{text}"
                    );
                    ensure!(lines.last() == Some(&"}") && !text.contains("alone"), "{text}");
                    let address = |l: &&str| l.strip_prefix("    server ").map(str::to_owned);
                    Ok(rest.iter().filter_map(address).collect())
                };
                let two = wait_for(d.t.seconds(), || Ok(Some(servers()?).filter(|s| s.len() == 2)))
                    .with_context(|| format!("not two servers: {:?}", servers()))?;
                for server in &two {
                    ensure!(server.starts_with("10.88.77.") && server.ends_with(":8080;"), "{two:?}");
                }
                d.post("/v1/services/web.1/stop?wait=true")?;
                let one = servers()?;
                ensure!(one.len() == 1 && two.contains(&one[0]), "{one:?} of {two:?}");
                d.post("/v1/services/web.2/stop?wait=true")?;
                ensure!(servers()?.is_empty(), "{:?}", servers()?);
                Ok(())
            },
        ),
        sup("probe.endpoints-nginx-takes", "docs/endpoints.md")
            .needs([Need::Program("jq"), Need::Program("nginx")])
            .daemon(|d| {
                let list = d.t.dir.join("endpoints.json");
                let instance = |service: &str, nth: u32, port: u32| {
                    json!({ "service": service, "instance": format!("{service}.{nth}"), "state": "running", "pid": 7,
                        "address": format!("10.1.0.{nth}"), "ports": [format!("{port}/tcp"), "9/udp"] })
                };
                let all = [instance("api", 1, 80), instance("web", 2, 8080), instance("web", 3, 8080)];
                fs::write(&list, json!({ "instances": all }).to_string())?;
                let text = upstreams(&list)?;
                ensure!(text.matches("upstream ").count() == 2 && text.matches("server ").count() == 3, "{text}");
                let (taken, said) = nginx_takes(d, &text)?;
                ensure!(taken, "{said}");
                // What it would say of an address that is none.
                let (taken, said) = nginx_takes(d, &text.replace("10.1.0.3:8080", "10.1.0.3:80800"))?;
                ensure!(!taken && said.contains("invalid port"), "{said}");
                Ok(())
            }),
    ]
}

/// The output of the page's line.
fn upstreams(list: &std::path::Path) -> Result<String> {
    let block =
        PAGE.split("```sh\n").nth(1).and_then(|b| b.split("```").next()).context("no line in the page")?;
    let out = Command::new("/bin/sh").args(["-c", block, "sh"]).arg(list).output().context("sh")?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?)
}

/// Whether NGINX takes a configuration with these upstreams and a server that passes to one of them, and what it says.
fn nginx_takes(d: &Daemon<'_, '_>, upstreams: &str) -> Result<(bool, String)> {
    let nginx = crate::host::find_program("nginx").context("no nginx")?;
    let file = d.t.dir.join("nginx.conf");
    let server = "server { listen 127.0.0.1:8088; location / { proxy_pass http://web; } }\n";
    // Nothing of the machine's own NGINX is touched: directories that it would make are below the case's.
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|n| format!("{n}_temp_path {n};\n"));
    let head = format!(
        "pid nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{}",
        temp.concat()
    );
    fs::write(&file, format!("{head}{upstreams}{server}}}\n"))?;
    let out = Command::new(nginx).arg("-t").arg("-p").arg(&d.t.dir).arg("-c").arg(&file).output()?;
    Ok((out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned()))
}
