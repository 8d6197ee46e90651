//! The status page: what the loopback address gives to whom, and what a real browser makes of it.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::metrics::{tcp, token, with_web};
use super::{SOON, sup};
use crate::case::Case;
use crate::daemon::Daemon;
use crate::host::{Need, find_program};
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        sup("web.page", "docs/status-page.md").daemon(page),
        sup("web.same-as-socket", "docs/status-page.md").daemon(same_as_socket),
        sup("web.refused", "docs/status-page.md").daemon(refused),
        sup("web.browser", "docs/status-page.md")
            .needs([Need::Program("chromium")])
            .seconds(90)
            .daemon(browser),
    ]
}

/// Text of a container that would do something if it became markup.
const HOSTILE: &str =
    "STATUS=<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">";

fn page(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("secret-name", "")?;
    let port = with_web(d)?;
    let host = format!("Host: localhost:{port}");
    // A browser that opens it cannot send a token, so there is nothing in it.
    let (head, answer) = tcp(port, "GET", "/", &[&host])?;
    let text = answer.is(200)?.body;
    ensure!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
    ensure!(!text.contains("secret-name") && !text.contains(&token(d)?), "the page has data in it");
    let policy =
        head.lines().find_map(|l| l.strip_prefix("content-security-policy: ")).context("no policy")?;
    let rules: Vec<&str> = policy.split("; ").collect();
    for want in [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        ensure!(rules.contains(&want), "no {want} in {policy}");
    }
    for rule in &rules {
        let (name, allowed) = rule.split_once(' ').context("a rule without a value")?;
        // What is in the page is known by its digest.
        let digest = allowed.starts_with("'sha256-") && !allowed.contains(' ');
        ensure!(digest || !matches!(name, "script-src" | "style-src"), "{rule}");
        ensure!(!allowed.contains("unsafe") && !allowed.contains('*'), "{rule}");
    }
    for header in
        ["x-frame-options: deny", "referrer-policy: no-referrer", "cross-origin-resource-policy: same-origin"]
    {
        ensure!(head.contains(header), "no {header} in {head}");
    }
    // Everything is in it.
    for outside in [" src=", " href=", "@import", "url(", "https:"] {
        ensure!(!text.contains(outside), "{outside} in the page");
    }
    ensure!(
        text.contains("<html lang=\"en\">") && text.contains("<title>knarrd</title>"),
        "no language or title"
    );
    let (head, answer) = tcp(port, "HEAD", "/", &[&host])?;
    ensure!(answer.is(200)?.body.is_empty() && head.contains("content-security-policy"), "HEAD: {head}");
    Ok(())
}

/// The socket and the loopback address say the same at one time. What changes by itself is left out.
fn same(d: &Daemon<'_, '_>, ask: impl Fn(&str) -> Result<Value>, path: &str) -> Result<Value> {
    fn still(mut value: Value) -> Value {
        for instance in value.as_array_mut().into_iter().flatten() {
            for key in ["seconds", "memory"] {
                instance.as_object_mut().map(|i| i.remove(key));
            }
        }
        // "runs since 3 s as ..."
        if let Some(text) = value["summary"].as_str() {
            let words = text.split(' ').filter(|w| !w.starts_with(|c: char| c.is_ascii_digit()));
            value["summary"] = words.collect::<Vec<_>>().join(" ").into();
        }
        value
    }
    let mut last = String::new();
    wait_for(d.t.seconds(), || {
        let (socket, web) = (still(d.get(path)?), still(ask(path)?));
        last = format!("{socket} on the socket, {web} on the loopback address");
        Ok((socket == web).then_some(web))
    })
    .with_context(|| format!("{path}: {last}"))
}

fn same_as_socket(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("web", "[limits]\npids = 50\n")?;
    d.service("bad", &["exit", "3"], "[restart]\npolicy = 'no'\n")?;
    d.until("bad.1", "failed")?;
    let port = with_web(d)?;
    let (host, right) = (format!("Host: 127.0.0.1:{port}"), format!("Authorization: Bearer {}", token(d)?));
    let ask = |path: &str| tcp(port, "GET", path, &[&host, &right])?.1.is(200)?.json();
    let all = same(d, ask, "/v1/instances")?;
    ensure!(all.as_array().is_some_and(|a| a.len() == 2) && all[0]["last_exit"] == 3, "{all}");
    let why = same(d, ask, "/v1/explain/bad.1")?;
    ensure!(why["chain"].to_string().contains("exited 3"), "{why}");
    same(d, ask, "/v1/explain/web")?;
    let history = same(d, ask, "/v1/services/web.1/history")?;
    ensure!(history[0]["instance"] == "web.1", "{history}");
    let version = same(d, ask, "/v1/version")?;
    ensure!(version["pid"] == d.pid()?, "{version}");
    // Who has no token gets the reason and nothing else.
    for path in ["/v1/instances", "/v1/explain/bad.1", "/v1/version"] {
        let (_, answer) = tcp(port, "GET", path, &[&host])?;
        let told = answer.is(401)?.json()?;
        ensure!(told["code"] == "unauthorized", "{told}");
        ensure!(told["message"] == "want the header authorization: Bearer TOKEN", "{told}");
    }
    // A token in the address would be in logs and histories; it does not count.
    let path = format!("/v1/instances?token={}&authorization={}", token(d)?, token(d)?);
    tcp(port, "GET", &path, &[&host])?.1.is(401)?;
    tcp(port, "GET", "/v1/explain/nobody", &[&host, &right])?.1.is(404)?;
    Ok(())
}

fn refused(d: &mut Daemon<'_, '_>) -> Result<()> {
    d.resident("web", "")?;
    let port = with_web(d)?;
    let own = format!("localhost:{port}");
    let (host, right) = (format!("Host: {own}"), format!("Authorization: Bearer {}", token(d)?));
    let says = |method: &str, path: &str, headers: &[&str], status: u16, why: &str| -> Result<()> {
        let answer = tcp(port, method, path, headers)?.1.is(status).context(path.to_owned())?;
        ensure!(answer.body.contains(why), "{headers:?}: {}", answer.body);
        Ok(())
    };
    for path in ["/", "/v1/instances", "/v1/explain/web", "/v1/services/web/history", "/metrics"] {
        // The twin of all that follows: of the page itself, of the address bar, of a program.
        for fine in ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "Accept: */*"] {
            tcp(port, "GET", path, &[&host, &right, fine])?.1.is(200).context(fine)?;
        }
        let origin = format!("Origin: http://{own}");
        tcp(port, "GET", path, &[&host, &right, &origin])?.1.is(200)?;
        // Another name for this address (DNS rebinding).
        for foreign in ["Host: evil.example", "Host: localhost.evil.example:80", "Host: 127.0.0.1:1"] {
            says("GET", path, &[foreign, &right], 421, "localhost with its port")?;
        }
        // A page from elsewhere, another server of this host, a file.
        for foreign in [
            "Origin: http://evil.example",
            "Origin: http://localhost:1",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            says("GET", path, &[&host, &right, foreign], 403, "a page from elsewhere asks")?;
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            says(method, path, &[&host, &right], 405, "only answers GET and HEAD")?;
        }
    }
    // A question of a browser whether another page may ask is answered with nothing that allows it.
    let asks = ["Origin: http://evil.example", "Access-Control-Request-Method: GET"];
    let (head, _) = tcp(port, "OPTIONS", "/v1/instances", &[&host, asks[0], asks[1]])?;
    ensure!(!head.contains("access-control-"), "{head}");
    // What the page does not need is not there.
    for path in ["/v1/openapi.json", "/v1/services/web", "/v1/logs/web", "/v1/events", "/v1/plan", "/page.js"]
    {
        says("GET", path, &[&host, &right], 404, "no such path")?;
    }
    d.is("web.1", "running").map(|_| ())
}

/// What the page is in a browser after some looks, as markup.
fn seen(d: &mut Daemon<'_, '_>, port: u16, behind: &str) -> Result<String> {
    let profile = d.t.dir.join("browser");
    fs::create_dir_all(&profile)?;
    let address = format!("http://127.0.0.1:{port}/{behind}");
    let profile_option = format!("--user-data-dir={}", profile.display());
    let line = [
        "--headless=new",
        // Its sandbox wants namespaces of a user's own; here it is root, and sees one page of ours.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--virtual-time-budget=9000",
        "--dump-dom",
        &profile_option,
        &address,
    ]
    .map(str::to_owned);
    let program = find_program("chromium").context("no chromium")?;
    let home = profile.display().to_string();
    let out = d.t.command(&program, &line).env("HOME", &home).run()?.ok()?;
    fs::remove_dir_all(&profile).context("the profile")?;
    Ok(out.stdout)
}

fn browser(d: &mut Daemon<'_, '_>) -> Result<()> {
    let keys = "[probes.readiness]\npush = true\nperiod = '200ms'\n";
    d.resident("web", "[limits]\nmemory = '64MiB'\n")?;
    d.service("hostile", &["all", "notify", HOSTILE, "--", "trap", "TERM"], keys)?;
    d.until_it("hostile.1", "its status", |i| i["detail"].to_string().contains("says: <script>"))?;
    d.service("dies", &["exit", "3"], &format!("{SOON}policy = 'no'\n"))?;
    d.until("dies.1", "failed")?;
    let port = with_web(d)?;
    let token = token(d)?;
    let dom = seen(d, port, &format!("#token={token}&show=dies.1,web.1"))?;
    let row = |name: &str| -> Result<&str> {
        let button = format!(">{name}</button>");
        let rest = dom.split_once(&button).with_context(|| format!("no row of {name}: {dom}"))?.1;
        Ok(rest.split_once("</tr>").context("a row without an end")?.0)
    };
    ensure!(row("web.1")?.contains(">running</span>"), "{}", row("web.1")?);
    ensure!(row("dies.1")?.contains(">failed</span>"), "{}", row("dies.1")?);
    // What it says of itself is text.
    let told = row("hostile.1")?;
    ensure!(
        told.contains("says: &lt;script&gt;document.title='owned'&lt;/script&gt;&lt;img src=x"),
        "{told}"
    );
    ensure!(dom.matches("<script").count() == 1 && !dom.contains("<img"), "markup of a container: {dom}");
    ensure!(dom.contains("<title>(1) knarrd</title>"), "the title: {dom}");
    // The explanation that the address asks for.
    ensure!(
        dom.contains("Events of dies.1, oldest first") && dom.contains("exited 3"),
        "no explanation: {dom}"
    );
    // What runs has at least the sample of the daemon's start.
    let graph = dom
        .split("<figcaption>")
        .find(|f| f.starts_with("Memory: ") && f.contains(", limit 64M</figcaption>"));
    ensure!(graph.is_some_and(|g| g.contains("class=\"line\" d=\"M")), "no graph: {dom}");
    ensure!(!dom.contains(&token), "the token is in the page");
    // The twin: the same page without the right token shows nothing.
    let dom = seen(d, port, "#token=not-this-one")?;
    ensure!(dom.contains("That is not the token of this daemon."), "{dom}");
    ensure!(!dom.contains("web.1"), "a row without a token: {dom}");
    Ok(())
}
