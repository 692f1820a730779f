//! What the kernel knows of this process, read off /proc (proc(5)). What cannot be read is left out.

use std::fs::{read_dir, read_to_string};

use rustix::process::{Resource, getrlimit};

/// Clock ticks in a second, as /proc counts them: the same on every architecture that we run on.
const TICKS: f64 = 100.0;

/// This process now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// In user and in kernel mode.
    pub(super) cpu_seconds: Option<f64>,
    /// Octets in RAM.
    pub(super) resident: Option<u64>,
    /// Octets of address space.
    pub(super) size: Option<u64>,
    /// Descriptors.
    pub(super) open: Option<u64>,
    /// Most descriptors.
    pub(super) most: Option<u64>,
}

impl Process {
    /// Blocks for a moment, longer where there are very many descriptors.
    pub(super) fn look() -> Self {
        let status = read_to_string("/proc/self/status").unwrap_or_default();
        let stat = read_to_string("/proc/self/stat").unwrap_or_default();
        // One of them is that of the look itself.
        let open = read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1) as u64);
        Self {
            cpu_seconds: ticks(&stat).map(|ticks| ticks as f64 / TICKS),
            resident: octets(&status, "VmRSS:"),
            size: octets(&status, "VmSize:"),
            open,
            most: getrlimit(Resource::Nofile).current,
        }
    }
}

/// Field 14 and 15 of /proc/self/stat. The second field is the program's name in brackets, in which anything may stand.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    fields.next()??.checked_add(fields.next()??)
}

/// A line of /proc/self/status in kB.
fn octets(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_whatever_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 4 0 100";
        assert_eq!(ticks(stat), Some(175));
        assert_eq!(ticks("7 (cut) S 1 2"), None);
        assert_eq!(ticks(""), None);
        assert_eq!(octets("VmPeak:\t 9 kB\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12 * 1024));
        assert_eq!(octets("VmRSS:\t 12 MB\n", "VmRSS:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_all_of_it() {
        let Process { cpu_seconds, resident, size, open, most } = Process::look();
        assert!(resident.unwrap() > 100_000 && size > resident, "{resident:?} {size:?}");
        assert!((3..10_000).contains(&open.unwrap()) && most > open, "{open:?} {most:?}");
        assert!(cpu_seconds.is_some());
    }
}
