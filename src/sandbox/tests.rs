//! Inside: each test shuts a thread of its own in, and tries. Root tries too, whose rights do not help.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::fs;
use std::io::ErrorKind::PermissionDenied;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::*;

/// What it finds out in a thread that is shut in.
fn inside<T: Send>(folders: &[&Path], found: impl FnOnce(Report) -> T + Send) -> T {
    let folders: Vec<PathBuf> = folders.iter().map(|folder| folder.to_path_buf()).collect();
    std::thread::scope(|scope| scope.spawn(|| found(enter(&folders))).join().unwrap())
}

#[test]
fn files_are_written_in_the_folders_and_nowhere_else() {
    let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let old = other.path().join("old");
    fs::write(&old, "as before").unwrap();
    let denied = |done: std::io::Result<()>| done.unwrap_err().kind() == PermissionDenied;
    let report = inside(&[ours.path()], |report| {
        // As routes are kept: written beside, renamed over.
        for _ in 0..2 {
            fs::write(ours.path().join("fresh"), "x").unwrap();
            fs::rename(ours.path().join("fresh"), ours.path().join("kept")).unwrap();
        }
        std::os::unix::net::UnixListener::bind(ours.path().join("socket")).unwrap();
        fs::remove_file(ours.path().join("kept")).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "as before");
        assert!(denied(fs::write(&old, "x")));
        assert!(denied(fs::write(other.path().join("new"), "x")));
        assert!(denied(fs::remove_file(&old)));
        assert!(denied(fs::create_dir(other.path().join("folder"))));
        assert!(denied(std::os::unix::fs::symlink("/", other.path().join("link"))));
        assert!(denied(std::os::unix::fs::symlink("/", ours.path().join("link"))));
        assert!(denied(std::os::unix::net::UnixListener::bind(other.path().join("socket")).map(drop)));
        report
    });
    assert_eq!(fs::read_to_string(&old).unwrap(), "as before");
    let Files::Restricted { folders, absent, .. } = &report.files else { panic!("{report}") };
    assert_eq!((&folders[..], &absent[..]), (&[ours.path().to_owned()][..], &[][..]));
    let said = format!("files: written only below {:?}, none is executed (Landlock ", ours.path());
    assert!(report.to_string().starts_with(&said), "{report}");
}

#[test]
fn a_folder_that_is_not_there_is_told_and_nothing_is_written_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, file) = (folder.path().join("missing"), folder.path().join("file"));
    fs::write(&file, "").unwrap();
    let report = inside(&[&missing, &file], |report| {
        fs::create_dir(&missing).unwrap_err();
        fs::write(&file, "x").unwrap_err();
        report
    });
    let Files::Restricted { absent, .. } = &report.files else { panic!("{report}") };
    assert_eq!(absent, &[missing, file]);
    assert!(report.to_string().starts_with("files: none is written or executed (Landlock "), "{report}");
}

#[test]
fn no_program_is_started_by_landlock_alone() {
    let error = inside_landlock(|| Command::new("/bin/true").status().unwrap_err());
    assert_eq!(error.raw_os_error(), Some(libc::EACCES));
}

fn inside_landlock<T: Send>(found: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = || {
            landlock::restrict(&[]);
            found()
        };
        scope.spawn(inside).join().unwrap()
    })
}

#[test]
fn denied_calls_answer_eperm_and_the_rest_goes_on() {
    let uts = fs::File::open("/proc/self/ns/uts").unwrap();
    let report = inside(&[], |report| {
        assert_eq!(Command::new("/bin/true").status().unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(std::os::unix::fs::chroot("/").unwrap_err().raw_os_error(), Some(libc::EPERM));
        let moved = move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&uts),
            Some(LinkNameSpaceType::HostNameAndNISDomainName),
        );
        assert_eq!(moved, Err(rustix::io::Errno::PERM));
        // Threads, sockets and names still are there.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || TcpStream::connect(address).unwrap()).join().unwrap();
        listener.accept().unwrap();
        assert!(std::net::ToSocketAddrs::to_socket_addrs("localhost:1").unwrap().count() > 0);
        assert!(rustix::thread::no_new_privs().unwrap());
        report
    });
    assert!(matches!(report.calls, Calls::Denied(50..)), "{report}");
    assert!(report.to_string().ends_with(" are denied (seccomp)"), "{report}");
    // The other threads of this test.
    assert!(Command::new("/bin/true").status().unwrap().success());
}

#[test]
fn without_it_the_report_says_so() {
    let said = "files: not restricted (sandbox = false); calls: not restricted (sandbox = false)";
    assert_eq!(Report::off().to_string(), said);
}
