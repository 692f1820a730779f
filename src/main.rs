//! The binary: everything is in the library, so that tests, benches and fuzz targets see what runs.

use std::process::ExitCode;

/// For the C parts of the TLS library too: it is built without a prefix.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // It begins before we do, and would keep the rights that the first thread gives away.
    let has_stopped = allocators_thread(false);
    mailferry::cli::main(|| {
        if has_stopped {
            allocators_thread(true);
        }
    })
}

/// Starts the thread in which the allocator gives memory back, or ends it and waits for that. Without it, others do that
/// beside their work.
#[cfg(feature = "jemalloc")]
fn allocators_thread(is_wanted: bool) -> bool {
    tikv_jemalloc_ctl::background_thread::update(is_wanted).is_ok_and(|was_there| was_there)
}

#[cfg(not(feature = "jemalloc"))]
fn allocators_thread(_: bool) -> bool {
    false
}
