//! `run`: create, start, and unless detached stay until the payload ends and remove the container.

use super::create::Paths;
use crate::cli::{Global, RunArgs};
use crate::create::{self, Container};
use crate::error::{Context, Result};
use crate::foreground::{self, Relay, Signals};
use crate::hooks;
use crate::interrupt;
use crate::link;
use crate::report;
use crate::sys::process;
use crate::trace::{self, Step};

/// See `knarr run --help`. The exit code is the payload's, 128 + signal when a signal ended it.
pub fn run(global: &Global, args: &RunArgs) -> Result<i32> {
    let store = super::store(global)?;
    let paths = Paths::of(&args.create)?;
    if !args.detach && !args.no_subreaper {
        process::set_subreaper(true)?;
    }
    let container = create::create(&store, &paths.wish(global, &args.create, args.detach, true))?;
    if args.detach { detached(container) } else { attached(global, container, args) }
}

fn detached(container: Container) -> Result<i32> {
    let proxy = container.made.proxy()?;
    let started = container.start()?;
    started.poststart()?;
    if let Some(mut proxy) = proxy {
        let init = &started.child;
        proxy.until_ready(init.pidfd(), init.pid())?;
    }
    started.keep();
    Ok(0)
}

fn attached(global: &Global, mut container: Container, args: &RunArgs) -> Result<i32> {
    let signals = Signals::block()?;
    // Before the payload runs: it finds the terminal as it will be, with its size.
    let relay = container.console.take().map(Relay::new).transpose()?;
    let proxy = container.made.proxy()?;
    let started = container.start()?;
    started.poststart()?;
    interrupt::disarm();
    let (id, mut child) = started.stay();
    let exit = foreground::wait(&mut child, &signals, relay, proxy);
    trace::step(Step::Ended);
    if !args.keep {
        // However the wait ended: nobody else will remove it.
        super::delete::remove(&super::store(global)?, &id).step("remove the container")?;
    }
    Ok(exit?.code())
}

impl Container {
    /// Lets the payload run and waits for the verdict of execve.
    fn start(self) -> Result<create::Started> {
        let Container { child, link, made, plan, console } = self;
        link.go(hooks::time_of(&plan.hooks.start_container).map(|t| t + link::DEADLINE))?;
        report::step("the program runs");
        trace::step(Step::Go);
        Ok(create::Started { child, made, plan, console })
    }
}

impl create::Started {
    /// runtime.md: after the payload runs; a failure stops the container.
    fn poststart(&self) -> Result<()> {
        hooks::run(
            "poststart",
            &self.plan.hooks.poststart,
            &self.plan.hook_state("running", self.child.pid()),
        )?;
        report::step(format_args!("{} poststart hooks have run", self.plan.hooks.poststart.len()));
        Ok(())
    }
}
