//! Calls of the kernel by seccomp (seccomp(2)): a list of those that are denied, with EPERM.
//!
//! A list of denied calls, not of allowed ones: the C library, the runtime and the allocator change what they ask for
//! from version to version, and a mail proxy that dies of a call that nobody knew is worse than one whose kernel
//! answers it. Denied is what no server needs and attackers want: other programs, other processes' memory, other
//! namespaces, parts of the kernel that are often broken, and what only root may anyway.
//! What is allowed is found in the kernel's own cache and costs next to nothing.

use std::collections::BTreeMap;

use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, SYS_acct,
    SYS_add_key, SYS_bpf, SYS_chroot, SYS_clock_settime, SYS_clone, SYS_clone3, SYS_delete_module, SYS_execve,
    SYS_execveat, SYS_fanotify_init, SYS_finit_module, SYS_fsconfig, SYS_fsmount, SYS_fsopen, SYS_fspick,
    SYS_init_module, SYS_io_uring_enter, SYS_io_uring_register, SYS_io_uring_setup, SYS_kcmp, SYS_kexec_load,
    SYS_keyctl, SYS_migrate_pages, SYS_mknodat, SYS_mount, SYS_mount_setattr, SYS_move_mount, SYS_move_pages,
    SYS_nfsservctl, SYS_open_by_handle_at, SYS_open_tree, SYS_perf_event_open, SYS_personality, SYS_pidfd_getfd,
    SYS_pivot_root, SYS_process_madvise, SYS_process_vm_readv, SYS_process_vm_writev, SYS_ptrace, SYS_quotactl,
    SYS_reboot, SYS_request_key, SYS_setdomainname, SYS_sethostname, SYS_setns, SYS_settimeofday, SYS_swapoff,
    SYS_swapon, SYS_syslog, SYS_umount2, SYS_unshare, SYS_userfaultfd, SYS_vhangup,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use super::Calls;

/// Denied, whatever is asked.
const DENIED: &[i64] = &[
    // Other programs.
    SYS_execve,
    SYS_execveat,
    // Other processes.
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_process_madvise,
    SYS_pidfd_getfd,
    SYS_kcmp,
    SYS_move_pages,
    SYS_migrate_pages,
    // Other views of the machine.
    SYS_unshare,
    SYS_setns,
    SYS_chroot,
    SYS_pivot_root,
    SYS_mount,
    SYS_umount2,
    SYS_mount_setattr,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_open_by_handle_at,
    SYS_fanotify_init,
    SYS_mknodat,
    // Where the kernel was often broken into. The runtime is built without io_uring, and would do without it.
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_personality,
    // The machine itself.
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    KEXEC_FILE_LOAD,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_nfsservctl,
    SYS_syslog,
    SYS_vhangup,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_settimeofday,
    SYS_clock_settime,
];

/// Some C libraries have no name for it.
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: i64 = 320;
#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: i64 = 294;

/// What only this architecture has.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[i64] = &[libc::SYS_mknod, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
#[cfg(target_arch = "aarch64")]
const DENIED_HERE: &[i64] = &[];

/// The x32 ABI has the same architecture in the filter's eyes: the same numbers with this bit, and numbers of its own
/// for `execve`, `ptrace`, `kexec_load`, `move_pages`, `process_vm_readv`, `process_vm_writev` and `execveat`.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;
#[cfg(target_arch = "x86_64")]
const DENIED_IN_X32: &[i64] = &[520, 521, 528, 533, 539, 540, 545];

/// Of `clone`, what would make a namespace.
const NAMESPACES: [libc::c_int; 7] =
    [CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS];

/// For the calling thread, and those that it will start.
pub(super) fn restrict() -> Calls {
    let applied = programs().map_err(|error| error.to_string()).and_then(|programs| {
        programs.iter().try_for_each(|program| apply_filter(program)).map_err(|error| error.to_string())
    });
    match applied {
        Ok(()) => Calls::Denied(DENIED.len() + DENIED_HERE.len()),
        Err(reason) => Calls::Unrestricted(reason),
    }
}

/// Two, because each has one answer.
fn programs() -> Result<[BpfProgram; 2], BackendError> {
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for number in DENIED.iter().chain(DENIED_HERE) {
        denied.extend(also_x32(*number).map(|number| (number, Vec::new())));
    }
    #[cfg(target_arch = "x86_64")]
    for number in DENIED_IN_X32 {
        denied.extend(also_x32(*number).map(|number| (number, Vec::new())));
    }
    for number in also_x32(SYS_clone) {
        denied.insert(number, NAMESPACES.into_iter().map(makes).collect::<Result<_, _>>()?);
    }
    // Its flags are behind a pointer, where no filter sees them. This answer, as of a kernel before 5.3, has the C
    // library take `clone` for threads.
    let unknown = also_x32(SYS_clone3).map(|number| (number, Vec::new())).collect();
    Ok([program(denied, libc::EPERM)?, program(unknown, libc::ENOSYS)?])
}

/// The number, and those that mean the same call.
#[cfg(target_arch = "x86_64")]
fn also_x32(number: i64) -> impl Iterator<Item = i64> {
    [number, number | X32].into_iter()
}

#[cfg(target_arch = "aarch64")]
fn also_x32(number: i64) -> impl Iterator<Item = i64> {
    std::iter::once(number)
}

/// A `clone` with this flag.
fn makes(namespace: libc::c_int) -> Result<SeccompRule, BackendError> {
    let flag = u64::from(namespace.unsigned_abs());
    let is_set = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), flag)?;
    SeccompRule::new(vec![is_set])
}

/// Everything is allowed but this. Another architecture's calls end the process: nothing of ours makes any.
fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let answer = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, answer, arch)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do with a call: the classic BPF that filters use, on `struct seccomp_data` (seccomp(2)).
    fn verdict(program: &BpfProgram, number: i64, argument: u64) -> u32 {
        let arch: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        let mut data = Vec::new();
        data.extend(u32::try_from(number).unwrap().to_ne_bytes());
        data.extend(arch.to_ne_bytes());
        data.extend(0_u64.to_ne_bytes());
        data.extend(argument.to_ne_bytes());
        data.extend([0; 40]);
        let (mut at, mut value) = (0, 0_u32);
        loop {
            let it = &program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { it.jt } else { it.jf });
            match it.code {
                0x20 => value = u32::from_ne_bytes(data[it.k as usize..][..4].try_into().unwrap()),
                0x54 => value &= it.k,
                0x05 => at += it.k as usize,
                0x15 => at += jump(value == it.k),
                0x25 => at += jump(value > it.k),
                0x35 => at += jump(value >= it.k),
                0x06 => return it.k,
                other => panic!("an instruction that no filter of ours needs: {other:#x}"),
            }
        }
    }

    /// The number in both ABIs of this architecture.
    fn both(number: i64) -> Vec<i64> {
        if cfg!(target_arch = "x86_64") { vec![number, number + 0x4000_0000] } else { vec![number] }
    }

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;

    #[test]
    fn every_call_of_the_list_is_denied_and_what_serving_needs_is_not() {
        let [denied, unknown] = programs().unwrap();
        for number in DENIED.iter().chain(DENIED_HERE).flat_map(|number| both(*number)) {
            assert_eq!((verdict(&denied, number, 0), verdict(&unknown, number, 0)), (EPERM, ALLOW), "{number}");
        }
        for number in [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_openat,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_accept4,
            libc::SYS_splice,
            libc::SYS_epoll_pwait,
            libc::SYS_futex,
            libc::SYS_mmap,
            libc::SYS_madvise,
            libc::SYS_getrandom,
            libc::SYS_renameat,
            libc::SYS_prlimit64,
            libc::SYS_exit_group,
            libc::SYS_kill,
            // Calls that are not there yet.
            700,
            1_000_000,
        ] {
            assert_eq!((verdict(&denied, number, 0), verdict(&unknown, number, 0)), (ALLOW, ALLOW), "{number}");
        }
    }

    #[test]
    fn threads_are_made_and_namespaces_are_not() {
        let [denied, unknown] = programs().unwrap();
        // As the C library starts a thread.
        let thread = 0x003d_0f00;
        for number in both(SYS_clone) {
            assert_eq!(verdict(&denied, number, thread), ALLOW);
            for namespace in NAMESPACES {
                let flags = thread | u64::from(namespace.unsigned_abs());
                assert_eq!(verdict(&denied, number, flags), EPERM, "{flags:#x}");
            }
        }
        for number in both(SYS_clone3) {
            assert_eq!((verdict(&denied, number, 0), verdict(&unknown, number, 0)), (ALLOW, ENOSYS));
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_other_numbers_of_the_same_calls_are_denied_too() {
        let [denied, _] = programs().unwrap();
        for number in DENIED_IN_X32.iter().flat_map(|number| both(*number)) {
            assert_eq!(verdict(&denied, number, 0), EPERM, "{number}");
        }
    }
}
