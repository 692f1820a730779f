//! The binary: everything is in the library, so that tests, benches and fuzz targets see what runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailferry::cli::main()
}
