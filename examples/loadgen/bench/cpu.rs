//! CPU of whole trees of processes, in nanoseconds where the kernel counts them for each thread
//! (`/proc/PID/task/TID/schedstat`, Linux' sched-stats), and in ticks where it does not.
//!
//! Threads that have ended are in no such file. Their process counts them still, and its parent counts the processes that
//! it has waited for, both in ticks (`/proc/PID/stat`): what these tell beyond the nanoseconds, and beyond what rounding
//! may be, is that of the dead.

use std::collections::BTreeMap;
use std::fs;

use super::measured::Measured;
use super::processes::{Stat, all, ticks_per_second, tree};

const NANOSECONDS: f64 = 1e9;

/// The figure that tells, in milliseconds, to what CPU was counted where that is not nanoseconds.
pub(crate) const IN_TICKS: &str = "cpu in ticks of";

/// What trees of processes have used so far.
#[derive(Debug)]
pub(crate) struct Cpu {
    /// Nanoseconds of a tick.
    tick: u64,
    processes: BTreeMap<u32, Process>,
}

/// What one process has used so far.
#[derive(Debug)]
struct Process {
    /// Ticks of its own, those of dead threads too.
    own: u64,
    /// Ticks of the children that it has waited for.
    children: u64,
    /// Nanoseconds of each living thread; `None` where the kernel does not tell.
    threads: Option<BTreeMap<u32, u64>>,
}

/// What was used between two looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Used {
    pub(crate) seconds: f64,
    /// Seconds to which that is known, where it was counted in ticks.
    pub(crate) in_ticks: Option<f64>,
}

/// What the trees have used so far, in user and kernel mode.
pub(crate) fn cpu(roots: &[u32]) -> Result<Cpu, String> {
    let tick = NANOSECONDS as u64 / ticks_per_second().max(1);
    let processes = tree(&all()?, roots)?.iter().filter_map(|stat| Some((stat.id, Process::read(stat)?))).collect();
    Ok(Cpu { tick, processes })
}

impl Process {
    /// Nothing, if it has ended meanwhile.
    fn read(stat: &Stat) -> Option<Self> {
        let tasks = fs::read_dir(format!("/proc/{}/task", stat.id)).ok()?;
        let told = |task: fs::DirEntry| {
            let id = task.file_name().to_str()?.parse().ok()?;
            Some((id, parse(&fs::read_to_string(task.path().join("schedstat")).ok()?)?))
        };
        let threads: BTreeMap<u32, u64> = tasks.filter_map(|task| told(task.ok()?)).collect();
        // Without the file there are none, and a kernel in which the counting is off says nought.
        let is_told = !threads.is_empty() && (stat.own == 0 || threads.values().any(|used| *used > 0));
        Some(Self { own: stat.own, children: stat.children, threads: is_told.then_some(threads) })
    }

    /// Nanoseconds of its own since then, or since its beginning.
    fn since(&self, before: Option<&Self>, tick: u64) -> u64 {
        let in_ticks = self.own.saturating_sub(before.map_or(0, |before| before.own)) * tick;
        let none = BTreeMap::new();
        let earlier = before.map_or(Some(&none), |before| before.threads.as_ref());
        let (Some(threads), Some(earlier)) = (&self.threads, earlier) else { return in_ticks };
        let of_thread = |(id, used): (&u32, &u64)| used.saturating_sub(earlier.get(id).copied().unwrap_or(0));
        let living = threads.iter().map(of_thread).sum();
        // User and kernel mode are rounded down each on its own, at both looks.
        if in_ticks >= living + 2 * tick { in_ticks } else { living }
    }
}

impl Cpu {
    /// What was used since an earlier look at the same trees.
    pub(crate) fn since(&self, before: &Self) -> Used {
        let tick = self.tick;
        let own = self.processes.iter().map(|(id, process)| process.since(before.processes.get(id), tick));
        let waited_for = |cpu: &Self| cpu.processes.values().map(|process| process.children * tick).sum::<u64>();
        // Who has ended since then is in its parent's count of children with all that it has ever used.
        let ended = before.processes.iter().filter(|(id, _)| !self.processes.contains_key(*id));
        let earlier = waited_for(before) + ended.map(|(_, process)| process.since(None, tick)).sum::<u64>();
        let used = (own.sum::<u64>() + waited_for(self)).saturating_sub(earlier);
        let is_told = self.processes.values().all(|process| process.threads.is_some());
        Used { seconds: used as f64 / NANOSECONDS, in_ticks: (!is_told).then(|| tick as f64 / NANOSECONDS) }
    }
}

impl Used {
    /// Says of a figure of CPU how coarse it is, where it is.
    pub(crate) fn tell(self, measured: &mut Measured) {
        measured.add(IN_TICKS, self.in_ticks.map(|seconds| seconds * 1e3), "ms");
    }
}

/// The first field is the time on a processor, in nanoseconds.
fn parse(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 10_000_000;

    fn process<const N: usize>(own: u64, children: u64, threads: Option<[(u32, u64); N]>) -> Process {
        Process { own, children, threads: threads.map(BTreeMap::from) }
    }

    fn seen<const N: usize>(processes: [(u32, Process); N]) -> Cpu {
        Cpu { tick: TICK, processes: BTreeMap::from(processes) }
    }

    fn used(before: &Cpu, after: &Cpu) -> (u64, bool) {
        let used = after.since(before);
        ((used.seconds * NANOSECONDS).round() as u64, used.in_ticks.is_some())
    }

    #[test]
    fn living_threads_count_in_nanoseconds_and_new_ones_from_their_beginning() {
        let before = seen([(7, process(100, 5, Some([(7, 900_000_000), (8, 123_456_789)])))]);
        let after = seen([(7, process(101, 5, Some([(7, 900_000_001), (8, 133_456_789), (9, 55)])))]);
        assert_eq!(used(&before, &after), (10_000_056, false));
        assert_eq!(used(&before, &before), (0, false));
    }

    #[test]
    fn dead_threads_count_in_ticks_where_these_tell_more_than_rounding_may() {
        let before = seen([(7, process(100, 0, Some([(7, 500), (8, 1_000_000_000)])))]);
        let after = |ticks| seen([(7, process(ticks, 0, Some([(7, 700)])))]);
        assert_eq!(used(&before, &after(101)), (200, false));
        assert_eq!(used(&before, &after(103)), (3 * TICK, false));
    }

    #[test]
    fn a_process_that_has_ended_counts_once_where_it_was_waited_for() {
        // The child has used 0.3 s before, 0.2 s of it by itself, and 0.1 s afterwards.
        let child = || process(20, 10, Some([(8, 200_000_000)]));
        let before = seen([(7, process(1, 2, Some([(7, 10_000_000)]))), (8, child())]);
        let after = seen([(7, process(1, 2 + 20 + 10 + 10, Some([(7, 10_000_000)])))]);
        assert_eq!(used(&before, &after), (100_000_000, false));
        // And one that was born meanwhile.
        let more =
            seen([(7, process(1, 2, Some([(7, 10_000_000)]))), (8, child()), (9, process(0, 0, Some([(9, 7)])))]);
        assert_eq!(used(&before, &more), (7, false));
    }

    #[test]
    fn without_the_kernels_count_it_is_ticks_and_that_is_told() {
        let before = seen([(7, process::<0>(100, 5, None))]);
        let after = seen([(7, process(104, 6, Some([(7, 1)])))]);
        assert_eq!(used(&before, &after), (5 * TICK, false));
        let after = seen([(7, process::<0>(104, 6, None))]);
        assert_eq!(used(&before, &after), (5 * TICK, true));
        let mut measured = Measured::new("it".into());
        after.since(&before).tell(&mut measured);
        assert_eq!((measured.figures[0].name.as_ref(), measured.figures[0].value), (IN_TICKS, 10.0));
        Used { seconds: 1.0, in_ticks: None }.tell(&mut measured);
        assert_eq!(measured.figures.len(), 1);
    }

    #[test]
    fn the_first_field_is_read_and_a_kernel_that_does_not_count_is_known() {
        assert_eq!(parse("66822687 60040292 296\n"), Some(66_822_687));
        assert_eq!([parse(""), parse("\n"), parse("x 1 2")], [None; 3]);
    }

    #[test]
    fn this_process_has_cpu_and_so_have_a_thread_and_a_child_that_have_ended() {
        let me = std::process::id();
        let look = || cpu(&[me]).unwrap();
        let spent = |before: &Cpu| look().since(before).seconds;
        let before = look();
        while spent(&before) <= 0.0 {
            std::hint::black_box(cpu(&[me]).unwrap());
        }
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done";
        let before = look();
        assert!(std::process::Command::new("sh").args(["-c", busy]).status().unwrap().success());
        assert!(spent(&before) >= 0.01, "a child that has ended counts");
    }
}
