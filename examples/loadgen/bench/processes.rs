//! Trees of processes, and their memory, from `/proc` (proc(5)).

use std::fs;
use std::io;

/// Octets of a page of `/proc` figures in "kB".
const KIB: u64 = 1024;

/// The kind of the auxiliary vector's entry that tells the clock's ticks in a second (getauxval(3)).
const AT_CLKTCK: u64 = 17;

/// Ticks in a second where the kernel does not tell.
const TICKS_USUAL: u64 = 100;

/// What a tree of processes has in memory, and the machine besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) processes: u64,
    /// Octets of anonymous memory; what processes share counts for each (`RssAnon`).
    pub(crate) rss_anon: u64,
    /// Octets; what processes share is divided among them (`Pss`).
    pub(crate) pss: u64,
    /// Octets of page tables.
    pub(crate) page_tables: u64,
    /// Open descriptors.
    pub(crate) descriptors: u64,
    /// Those of them that are ends of pipes; a proxy may keep some for later.
    pub(crate) pipes: u64,
    /// Octets of the kernel's own objects, of the whole machine (`Slab`).
    pub(crate) slab: u64,
}

/// One process, as `/proc/PID/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) id: u32,
    parent: u32,
    /// Ticks of CPU of its own, in user and kernel mode; dead threads count.
    pub(crate) own: u64,
    /// Those of the children that it has waited for, and of theirs.
    pub(crate) children: u64,
}

/// What the trees have in memory now.
pub(crate) fn memory(roots: &[u32]) -> Result<Memory, String> {
    let mut memory = Memory { slab: kib(&read("/proc/meminfo")?, "Slab:").unwrap_or(0), ..Memory::default() };
    for stat in tree(&all()?, roots)? {
        let folder = format!("/proc/{}", stat.id);
        // It may have ended meanwhile.
        let (Ok(status), Ok(rollup)) = (read(&format!("{folder}/status")), read(&format!("{folder}/smaps_rollup")))
        else {
            continue;
        };
        memory.processes += 1;
        memory.rss_anon += kib(&status, "RssAnon:").unwrap_or(0);
        memory.page_tables += kib(&status, "VmPTE:").unwrap_or(0);
        memory.pss += kib(&rollup, "Pss:").unwrap_or(0);
        let open = fs::read_dir(format!("{folder}/fd")).into_iter().flatten().flatten();
        for descriptor in open {
            memory.descriptors += 1;
            let what = fs::read_link(descriptor.path()).unwrap_or_default();
            memory.pipes += u64::from(what.as_os_str().as_encoded_bytes().starts_with(b"pipe:"));
        }
    }
    Ok(memory)
}

/// All processes of the machine.
pub(crate) fn all() -> Result<Vec<Stat>, String> {
    let wrong = |error: io::Error| format!("/proc: {error}");
    let entries = fs::read_dir("/proc").map_err(wrong)?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let processes = names.filter(|name| name.bytes().all(|octet| octet.is_ascii_digit()));
    Ok(processes.filter_map(|name| parse(&fs::read_to_string(format!("/proc/{name}/stat")).ok()?)).collect())
}

/// The roots and all that descend from them. An error tells a root that is not there.
pub(crate) fn tree(all: &[Stat], roots: &[u32]) -> Result<Vec<Stat>, String> {
    let mut found: Vec<Stat> = Vec::new();
    for &root in roots {
        let stat = all.iter().find(|stat| stat.id == root).ok_or_else(|| format!("there is no process {root}"))?;
        if !found.iter().any(|stat| stat.id == root) {
            found.push(*stat);
        }
    }
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|stat| stat.id) {
        let children = all.iter().filter(|stat| stat.parent == parent && !roots.contains(&stat.id));
        found.extend(children);
        next += 1;
    }
    Ok(found)
}

/// The name, in brackets, may hold anything, brackets and blanks too.
fn parse(stat: &str) -> Option<Stat> {
    let (id, rest) = (stat.split_once(' ')?.0, stat.rsplit_once(')')?.1);
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // utime, stime, cutime, cstime: fields 14 to 17, and the state behind the name is the third.
    let ticks = |both: std::ops::Range<usize>| fields.get(both)?.iter().map(|field| field.parse::<u64>().ok()).sum();
    let (own, children): (Option<u64>, Option<u64>) = (ticks(11..13), ticks(13..15));
    Some(Stat { id: id.parse().ok()?, parent: fields.get(1)?.parse().ok()?, own: own?, children: children? })
}

/// The octets on the line that begins so.
fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|value| value * KIB)
}

/// How many ticks make a second.
pub(crate) fn ticks_per_second() -> u64 {
    fs::read("/proc/self/auxv").ok().and_then(|vector| auxiliary(&vector, AT_CLKTCK)).unwrap_or(TICKS_USUAL)
}

/// Pairs of words: what it is, and its value.
fn auxiliary(vector: &[u8], kind: u64) -> Option<u64> {
    let word = |octets: &[u8]| octets.try_into().ok().map(u64::from_ne_bytes);
    vector.chunks_exact(16).find(|pair| word(&pair[..8]) == Some(kind)).and_then(|pair| word(&pair[8..]))
}

fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 5 0 0";
        assert_eq!(parse(line), Some(Stat { id: 42, parent: 7, own: 33, children: 77 }));
        assert_eq!(parse("42 (a) S 7"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_tree_has_all_descendants_once_and_nobody_else() {
        let stat = |id, parent| Stat { id, parent, own: 0, children: 0 };
        let all = [stat(1, 0), stat(10, 1), stat(13, 12), stat(11, 10), stat(12, 10), stat(20, 1)];
        let ids = |roots: &[u32]| {
            let mut ids: Vec<_> = tree(&all, roots).unwrap().iter().map(|stat| stat.id).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(&[10]), [10, 11, 12, 13]);
        assert_eq!(ids(&[10, 12, 20, 20]), [10, 11, 12, 13, 20]);
        assert_eq!(tree(&all, &[10, 9]).unwrap_err(), "there is no process 9");
    }

    #[test]
    fn lines_of_status_are_in_octets() {
        let status = "VmPTE:\t      44 kB\nRssAnon:\t    1200 kB\nPss_Anon:  3 kB\nPss:    2 kB\n";
        assert_eq!(kib(status, "RssAnon:"), Some(1200 * 1024));
        assert_eq!(kib(status, "Pss:"), Some(2048));
        assert_eq!(kib(status, "Slab:"), None);
    }

    #[test]
    fn the_ticks_stand_in_the_auxiliary_vector() {
        let vector: Vec<u8> = [6_u64, 4096, 17, 250, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(auxiliary(&vector, AT_CLKTCK), Some(250));
        assert_eq!(auxiliary(&vector, 9), None);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let before = memory(&[std::process::id()]).unwrap();
        assert!(before.processes >= 1 && before.rss_anon > 0 && before.pss > 0 && before.descriptors > 2, "{before:?}");
        assert!(before.page_tables > 0 && before.slab > 0, "{before:?}");
    }
}
