//! The cap for the logs of the whole host: kept between rotations, and by logs that nobody writes any more.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::sup;
use crate::case::Case;
use crate::daemon::Daemon;
use crate::oracle;
use crate::trial::wait_for;

/// All of this subject.
pub fn cases() -> Vec<Case> {
    vec![
        // Neither service fills a file of its own: 10 MiB by default.
        sup("logcap.between-rotations", "knarrd --log-total").daemon(|d| {
            capped(d, 1 << 20)?;
            for name in ["a", "b"] {
                d.service(name, &["all", "lines", "8000", "200", "--", "trap", "TERM"], "")?;
            }
            for name in ["a.1", "b.1"] {
                d.until(name, "running")?;
            }
            within(d, 1 << 20)?;
            // Again with what comes then.
            d.ctl(&["restart", "a", "b"])?.ok()?;
            within(d, 1 << 20)?;
            let told = d.events()?.into_iter().filter(|e| e["kind"] == "logs-capped").count();
            ensure!(told == 1, "told {told} times within a minute");
            Ok(())
        }),
        sup("logcap.after-the-end", "knarrd --log-total, a service that has ended").daemon(|d| {
            d.service("a", &["lines", "8000", "200"], "[restart]\npolicy = 'no'\n")?;
            d.until("a.1", "exited")?;
            ensure!(bytes(d) > 1 << 20, "only {} bytes", bytes(d));
            capped(d, 1 << 20)?;
            within(d, 1 << 20)?;
            ensure!(oracle::names(&d.state.join("logs/a.1")) == ["00000002.log"], "numbers begin again");
            d.ctl(&["start", "a"])?.ok()?;
            d.until_it("a.1", "a second end", |i| i["state"] == "exited" && i["run"] == "a.1.2")?;
            let out = d.ctl(&["logs", "a", "--tail", "1"])?.ok()?;
            ensure!(out.stdout.contains("line 8000") || bytes(d) == 0, "{}", out.stdout);
            Ok(())
        }),
        sup("logcap.follow-goes-on", "knarrctl logs -f over files that the cap ended").daemon(|d| {
            capped(d, 300 << 10)?;
            d.service("a", &["lines", "5000", "200", "1"], "[restart]\npolicy = 'no'\n")?;
            let lines = d.ctl_running(&["logs", "a", "-f"])?;
            d.until_it("a.1", "exited", |i| i["state"] == "exited")?;
            wait_for(d.t.seconds(), || Ok(lines.so_far().0.contains("line 5000").then_some(())))
                .context("the last line was not followed")?;
            crate::os::kill(lines.pid() as i32, libc::SIGTERM);
            lines.wait()?;
            let files = oracle::names(&d.state.join("logs/a.1"));
            ensure!(!files.contains(&"00000001.log".to_string()), "no file was ended: {files:?}");
            within(d, 300 << 10)
        }),
    ]
}

/// A new daemon with this cap.
fn capped(d: &mut Daemon<'_, '_>, total: u64) -> Result<()> {
    d.options = vec!["--log-total".into(), total.to_string()];
    d.crash_and_start()
}

fn bytes(d: &Daemon<'_, '_>) -> u64 {
    let all = oracle::listing(&d.state.join("logs"));
    all.keys().filter_map(|path| std::fs::metadata(path).ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
}

/// A while after all is written, and then it stays so.
fn within(d: &Daemon<'_, '_>, total: u64) -> Result<()> {
    std::thread::sleep(Duration::from_millis(2500));
    wait_for(d.t.seconds(), || Ok((bytes(d) <= total).then_some(())))
        .with_context(|| format!("{} bytes of logs, want at most {total}", bytes(d)))?;
    std::thread::sleep(Duration::from_millis(1500));
    ensure!(bytes(d) <= total, "{} bytes of logs again", bytes(d));
    Ok(())
}
