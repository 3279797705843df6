//! Tasks without an end: what goes on for as long as the program does.

use std::convert::Infallible;
use std::io;
use std::panic::{PanicHookInfo, set_hook, take_hook};

use tracing::error;

/// Makes a panic of any thread or task end the process, by SIGABRT. Without it the program would go on without the part
/// that panicked, for example with what it knew when a watch ended; a crash is what peers and the kubelet handle best.
pub fn abort_on_panic() {
    let print = take_hook();
    set_hook(Box::new(move |panic| {
        print(panic);
        error!("{}", describe(panic));
        std::process::abort();
    }));
}

/// Runs a task for as long as the program runs. By its type the task cannot end, other than by a panic
/// ([`abort_on_panic`]).
pub fn spawn(task: impl Future<Output = Infallible> + Send + 'static) {
    tokio::spawn(task);
}

/// Runs a task on a thread of its own for as long as the program runs, so that it competes with other tasks for the processor
/// only.
///
/// # Errors
/// When the thread cannot be started.
pub fn spawn_thread(
    name: &'static str,
    task: impl Future<Output = Infallible> + Send + 'static,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || match runtime.block_on(task) {})?;
    Ok(())
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("without a message");
    let name = thread.name().unwrap_or("without a name");
    format!("the program ends, because a thread ({name}) panicked at {place}: {message}")
}
