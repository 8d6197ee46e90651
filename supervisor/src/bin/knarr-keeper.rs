//! knarr-keeper: holds the streams of one container, waits for its end, outlives the daemon. All of it is in
//! `knarrd::keeper`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    knarrd::keeper::start::main()
}
