//! The `knarr` command: parse, one call, one error, one exit code. May use: the library, nothing else.
#![forbid(unsafe_code)]
#![cfg_attr(target_env = "gnu", no_main)]

use knarr::cli::{self, Fault, Request};
use knarr::error::{Code, Error, Result};
use knarr::fds::Kept;
use knarr::{ops, report, seal, trace};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a panic ends with: the failure code of the command that was read.
static FAILURE: AtomicU8 = AtomicU8::new(1);

knarr::program!(command);

fn command() -> u8 {
    std::panic::set_hook(Box::new(panicked));
    let request = match cli::parse(std::env::args_os().skip(1)) {
        Ok(request) => request,
        Err(fault) => return unusable(&fault),
    };
    let failure = request.command.failure();
    FAILURE.store(failure, Ordering::Relaxed);
    let done = run(&request);
    if let Err(e) = trace::write() {
        report::warn(e);
    }
    match done {
        // Exit codes of payloads are one byte already; anything else would be a lie as 0.
        Ok(code) => u8::try_from(code).unwrap_or(failure),
        Err(e) => {
            report::error(&e);
            failure
        }
    }
}

fn run(request: &Request) -> Result<i32> {
    // First of all, but told through the log that comes after it.
    let stock = match request.command.makes_processes() {
        Some(preserve) => Kept::new(preserve).take_stock(),
        None => Ok(()),
    };
    report::init(&request.global.log)?;
    stock?;
    if request.command.makes_processes().is_some() && !cfg!(feature = "weak-seal") {
        seal::ensure()?;
    }
    trace::init(request.global.trace.as_deref())?;
    ops::dispatch(request)
}

fn unusable(fault: &Fault) -> u8 {
    if let Err(e) = report::init(&fault.log) {
        report::error(&e);
    }
    if let Some(usage) = &fault.usage {
        // The error itself goes to stderr and decides the exit code.
        let _ = report::print(usage);
    }
    report::error(&fault.error);
    fault.exit
}

/// A bug of ours ends like any other error: one line, the command's failure code, no core file.
#[expect(clippy::exit, reason = "a panic hook cannot return an exit code")]
fn panicked(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let said =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let place = info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
    let text = format!("internal error{place}: {}", said.unwrap_or("panic"));
    report::error(&Error::new(Code::Internal, text).hint("this is a bug in knarr"));
    std::process::exit(FAILURE.load(Ordering::Relaxed).into());
}
