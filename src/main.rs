//! The binary: everything is in the library, so that tests, benches and fuzz targets see what runs.

use std::process::ExitCode;

/// For the C parts of the TLS library too: it is built without a prefix.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    mailferry::cli::main()
}
