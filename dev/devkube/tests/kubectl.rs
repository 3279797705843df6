//! The embedded API as kubectl users see it: the real kubectl, driven as a person would.
//!
//! `$KUBECTL` names the program, otherwise it is searched on the PATH. Without one these tests are
//! shown as ignored, except in CI (`$CI`), where its absence is a failure.
#![expect(clippy::print_stderr, reason = "a developer must see why tests were not run")]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use herald_devkube::{Options, Server};
use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;
use tokio::runtime::Runtime;

mod cases {
    pub(crate) mod apply;
    pub(crate) mod change;
    pub(crate) mod show;
}

/// The input of a test case: a cluster of its own and kubectl configured for it.
pub(crate) struct Kubectl {
    program: PathBuf,
    home: TempDir,
    _server: Server,
    _runtime: Runtime,
}

/// One test case.
type Case = (&'static str, fn(&Kubectl) -> Result<(), Failed>);

fn main() {
    let arguments = Arguments::from_args();
    let program = find_kubectl();
    let in_ci = env::var_os("CI").is_some();
    if program.is_none() && !in_ci {
        eprintln!("kubectl tests need kubectl: set KUBECTL or put it on the PATH. They are ignored now.");
    }
    let cases = [cases::apply::CASES, cases::change::CASES, cases::show::CASES].concat();
    let trials = cases.into_iter().map(|(name, case)| {
        let kubectl = program.clone();
        Trial::test(name, move || {
            case(&Kubectl::start(kubectl.ok_or("CI has no kubectl")?)?)
        })
        .with_ignored_flag(program.is_none() && !in_ci)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn find_kubectl() -> Option<PathBuf> {
    let named = env::var_os("KUBECTL")
        .filter(|name| !name.is_empty())
        .map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut on_path = env::split_paths(&path).map(|directory| directory.join("kubectl"));
    named.or_else(|| on_path.find(|program| program.is_file()))
}

/// A file in `tests/data`.
pub(crate) fn data(name: &str) -> OsString {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
        .into()
}

impl Kubectl {
    fn start(program: PathBuf) -> Result<Self, Failed> {
        let runtime = Runtime::new()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let options = Options {
            listeners: vec![listener],
            ..Options::default()
        };
        let server = runtime.block_on(Server::start(options))?;
        let home = tempfile::tempdir()?;
        fs::write(home.path().join("config"), Server::kubeconfig(&url))?;
        Ok(Self {
            program,
            home,
            _server: server,
            _runtime: runtime,
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("KUBECONFIG", self.home.path().join("config"))
            .env("HOME", self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// What kubectl prints when it succeeds.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, Failed> {
        succeeded(arguments, self.command(arguments).output()?)
    }

    /// [`run`](Self::run) with an environment variable set.
    pub(crate) fn run_with(&self, variable: (&str, &str), arguments: &[&str]) -> Result<String, Failed> {
        succeeded(
            arguments,
            self.command(arguments).env(variable.0, variable.1).output()?,
        )
    }

    /// [`run`](Self::run) with standard input; pass `-f -`.
    pub(crate) fn pipe(&self, input: &str, arguments: &[&str]) -> Result<String, Failed> {
        succeeded(arguments, self.piped(input, arguments)?)
    }

    /// `kubectl apply -f` of a file in `tests/data`.
    pub(crate) fn apply(&self, file: &str) -> Result<String, Failed> {
        let path = data(file);
        self.run(&["apply", "-f", path.to_str().ok_or("an odd path")?])
    }

    /// What kubectl complains about when it fails; `input` is its standard input.
    pub(crate) fn refused(&self, input: &str, arguments: &[&str]) -> Result<String, Failed> {
        let output = self.piped(input, arguments)?;
        if output.status.success() {
            return Err(format!(
                "kubectl {arguments:?} should have failed: {}",
                text(&output.stdout)
            )
            .into());
        }
        Ok(text(&output.stderr))
    }

    /// The lines of a kubectl that goes on; it ends with them.
    pub(crate) fn follow(&self, arguments: &[&str]) -> Result<Lines, Failed> {
        let mut child = self.command(arguments).stderr(Stdio::inherit()).spawn()?;
        let output = child.stdout.take().ok_or("no standard output")?;
        Ok(Lines {
            child,
            lines: BufReader::new(output).lines(),
        })
    }

    /// Exit status and standard output.
    pub(crate) fn status(&self, arguments: &[&str]) -> Result<(Option<i32>, String), Failed> {
        let output = self.command(arguments).output()?;
        Ok((output.status.code(), text(&output.stdout)))
    }

    fn piped(&self, input: &str, arguments: &[&str]) -> Result<Output, Failed> {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn()?;
        // kubectl may fail before it has read everything; its own message says why.
        child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(input.as_bytes()));
        Ok(child.wait_with_output()?)
    }
}

/// Lines of a running kubectl, which is killed when they are dropped.
pub(crate) struct Lines {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Lines {
    /// The next line; fails when kubectl ends.
    pub(crate) fn next(&mut self) -> Result<String, Failed> {
        Ok(self.lines.next().ok_or("kubectl ended")??)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn succeeded(arguments: &[&str], output: Output) -> Result<String, Failed> {
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!(
        "kubectl {arguments:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
    .into())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fails unless `text` contains `part`.
pub(crate) fn contains(text: &str, part: &str) -> Result<(), Failed> {
    if text.contains(part) {
        Ok(())
    } else {
        Err(format!("{part:?} is missing in:\n{text}").into())
    }
}

/// Fails unless both are equal.
pub(crate) fn equal(found: &str, expected: &str) -> Result<(), Failed> {
    if found.trim() == expected.trim() {
        Ok(())
    } else {
        Err(format!("expected:\n{}\nfound:\n{}", expected.trim(), found.trim()).into())
    }
}
