//! The `consolidator` program: everything it does is in [`budget_consolidator::cli`].

use std::io::Write;
use std::process::ExitCode;

/// A filing is tens of thousands of small texts, made on one thread and dropped on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let ended = budget_consolidator::cli::run(std::env::args_os());
    // A reader that has gone away (`| head`) is no reason to complain.
    let _ = std::io::stdout().write_all(ended.out.as_bytes()).and_then(|()| std::io::stdout().flush());
    let _ = std::io::stderr().write_all(ended.err.as_bytes());
    ExitCode::from(ended.code)
}
