//! How late a process gets the processor: the reference for speakers in the same place.

use std::io::Write;
use std::time::{Duration, Instant};

/// How long the process sleeps; a speaker has something to do about as often.
const PERIOD: Duration = Duration::from_millis(10);

/// Sleeps again and again, and writes a line with how late it woke, in milliseconds, whenever that is later than ever before.
pub(super) fn run() -> anyhow::Result<()> {
    let mut latest = Duration::ZERO;
    loop {
        let asleep = Instant::now();
        std::thread::sleep(PERIOD);
        let late = asleep.elapsed().saturating_sub(PERIOD);
        if late > latest {
            latest = late;
            let mut output = std::io::stdout().lock();
            writeln!(output, "{}", late.as_millis())?;
            output.flush()?;
        }
    }
}
