//! The command a person types. All of it is in `knarrd::cli`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    knarrd::cli::main(std::env::args_os())
}
