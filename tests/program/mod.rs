//! Our program as tests start it. All that it says, its log too, is searched for secrets as it comes; what is found ends
//! the test run, as in `testkit::log`. This is the one place that knows where the program is, so that none is started
//! whose words nobody searches; tests/tidy.rs sees to that.

#![allow(dead_code, reason = "not every binary starts it in each way")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};

use mailferry::testkit::leaks::{self, MARKER};

/// What every password and token contains that a test of the whole program or site uses, and nothing else that is said.
const MARKS: [&str; 2] = ["-Pa55", MARKER];

/// Where it is, for scripts that start it themselves and whose log is searched.
pub(crate) const PATH: &str = env!("CARGO_BIN_EXE_mailferry");

/// What it came to.
#[derive(Debug)]
pub(crate) struct Done {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Done {
    /// Its output as JSON, of a command that succeeded without a word of warning.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        serde_json::from_str(&self.out).unwrap()
    }

    /// The same as text.
    #[track_caller]
    pub(crate) fn said(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }
}

/// The program, not yet started.
pub(crate) struct Program(Command);

impl Program {
    /// With these arguments.
    pub(crate) fn new<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(PATH);
        command.args(arguments);
        Self(command)
    }

    /// Started by another program, whose last argument is the path of ours.
    pub(crate) fn through(starter: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(starter);
        command.args(arguments).arg(PATH);
        Self(command)
    }

    /// One more argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// More of them.
    pub(crate) fn also(mut self, arguments: &[&str]) -> Self {
        self.0.args(arguments);
        self
    }

    /// A variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Where it runs.
    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Runs it to its end, without input.
    pub(crate) fn run(self) -> Done {
        self.run_with(b"")
    }

    /// Runs it to its end with this on its standard input.
    pub(crate) fn run_with(mut self, input: &[u8]) -> Done {
        let piped = self.0.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = thread::scope(|scope| {
            // It may have ended without having read.
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output().unwrap()
        });
        let searched = |octets: Vec<u8>| {
            let text = String::from_utf8(octets).unwrap();
            text.lines().for_each(search);
            text
        };
        Done { code: output.status.code().unwrap(), out: searched(output.stdout), err: searched(output.stderr) }
    }

    /// Starts it, and gives each line of its standard error to the caller, as soon as it is there.
    pub(crate) fn start(self, line: impl FnMut(String) + Send + 'static) -> Started {
        self.begin(Stdio::null(), Stdio::piped(), drop, line)
    }

    /// The same, with the lines of its standard output as well.
    pub(crate) fn follow(
        self,
        said: impl FnMut(String) + Send + 'static,
        line: impl FnMut(String) + Send + 'static,
    ) -> Started {
        self.begin(Stdio::null(), Stdio::piped(), said, line)
    }

    /// The same, and it is told something: its standard input is a pipe.
    pub(crate) fn converse(
        self,
        said: impl FnMut(String) + Send + 'static,
        line: impl FnMut(String) + Send + 'static,
    ) -> Started {
        self.begin(Stdio::piped(), Stdio::piped(), said, line)
    }

    /// The same, with these in the places of its standard input and output.
    pub(crate) fn start_holding(
        self,
        input: Stdio,
        output: Stdio,
        line: impl FnMut(String) + Send + 'static,
    ) -> Started {
        self.begin(input, output, drop, line)
    }

    fn begin(
        mut self,
        input: Stdio,
        output: Stdio,
        mut said: impl FnMut(String) + Send + 'static,
        mut line: impl FnMut(String) + Send + 'static,
    ) -> Started {
        let mut child = self.0.stdin(input).stdout(output).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (child.stdout.take(), child.stderr.take().unwrap());
        let out = thread::spawn(move || {
            for text in out.into_iter().flat_map(|out| BufReader::new(out).lines().map_while(Result::ok)) {
                search(&text);
                said(text);
            }
        });
        let err = thread::spawn(move || {
            for text in BufReader::new(err).lines().map_while(Result::ok) {
                search(&text);
                line(text);
            }
        });
        Started { child, readers: vec![out, err] }
    }
}

impl Started {
    /// Waits for its end and its last word. Its exit code; `None`: a signal ended it.
    pub(crate) fn ends(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

/// A program that runs. Dropping it kills it, and waits until its last word has been searched.
pub(crate) struct Started {
    pub(crate) child: Child,
    readers: Vec<JoinHandle<()>>,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.readers.drain(..).for_each(|reader| drop(reader.join()));
    }
}

/// Looks through one line that the program, or its code in this process, says; a secret in it ends this process.
pub(crate) fn search(line: &str) {
    static FORMS: OnceLock<Vec<String>> = OnceLock::new();
    let forms = FORMS.get_or_init(|| MARKS.iter().flat_map(|mark| leaks::forms(mark.as_bytes())).collect());
    if forms.iter().any(|form| line.contains(form.as_str())) {
        // Not by a macro, whose words the harness would keep for itself; and not by a panic, for which perhaps nobody waits.
        let _ = std::io::stderr().write_all(format!("a secret is in what the program says: {line}\n").as_bytes());
        std::process::exit(1);
    }
}
