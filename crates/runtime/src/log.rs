//! Logs: one JSON object a line on standard output, with `ts`, `level`, `caller` and `msg` first.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Minimum level of log messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogLevel {
    /// Everything, including other crates.
    All,
    /// Details of decisions as well.
    Debug,
    /// Changes.
    #[default]
    Info,
    /// What needs attention.
    Warn,
    /// Failures.
    Error,
    /// Nothing.
    None,
}

impl LogLevel {
    /// Returns the filter. Other crates log warnings only, except at level `all`. The Kubernetes client is off: it returns its
    /// errors to the caller, which logs them with their meaning.
    fn filter(self) -> EnvFilter {
        EnvFilter::new(match self {
            Self::All => "trace",
            Self::Debug => "warn,kube_client=off,herald=debug",
            Self::Info => "warn,kube_client=off,herald=info",
            Self::Warn => "warn,kube_client=off",
            Self::Error => "error,kube_client=off",
            Self::None => "off",
        })
    }
}

/// Starts logging. Later calls change nothing.
pub fn init(level: LogLevel) {
    // An error means that a subscriber is set already: an embedding program wants its own.
    let _already_set = tracing_subscriber::fmt()
        .with_env_filter(level.filter())
        .event_format(JsonLine)
        .try_init();
}

/// Ends a text that was cut.
const CUT: &str = "... (cut)";

/// Formats a text in at most `limit` bytes, the mark of a cut included. Users can write a quarter of a megabyte into an
/// annotation; what is cut is not even formatted.
pub fn shorten(text: impl fmt::Display, limit: usize) -> String {
    let mut short = ShortText {
        text: String::new(),
        limit,
    };
    let is_whole = write!(short, "{text}").is_ok();
    let mut text = short.text;
    if !is_whole {
        text.truncate(text.floor_char_boundary(limit.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
    text
}

/// The start of a text.
struct ShortText {
    text: String,
    limit: usize,
}

impl fmt::Write for ShortText {
    /// Fails when the text is too long.
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.limit - self.text.len();
        self.text.push_str(&more[..more.floor_char_boundary(room)]);
        if more.len() > room {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

/// Returns the exit status of a program. An error is written as one line, with its causes, to standard error.
#[expect(
    clippy::print_stderr,
    reason = "the last message of a program that cannot continue"
)]
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Returns the error with its causes, outermost first: the first line of each that adds something. Of an answer of the API
/// server it is the message, not the whole object.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let status = match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) if !status.message.is_empty() => Some(status),
            Some(_) | None => None,
        };
        let cause = status.map_or_else(|| error.to_string(), |status| status.message.clone());
        let line = cause.lines().next().unwrap_or_default();
        if !text.contains(line) {
            text = if text.is_empty() {
                line.to_owned()
            } else {
                format!("{text}: {line}")
            };
        }
        // The causes of an answer add nothing to its message.
        next = if status.is_some() { None } else { error.source() };
    }
    text
}

struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = Fields::default();
        event.record(&mut line);
        let head = [
            ("ts", Value::from(format!("{:.3}", jiff::Timestamp::now()))),
            ("level", Value::from(level(*metadata.level()))),
            ("caller", Value::from(caller(metadata))),
            ("msg", line.0.remove("message").unwrap_or_default()),
        ];
        let rest = line.0.iter().map(|(key, value)| (key.as_str(), value));
        for (i, (key, value)) in head
            .iter()
            .map(|(key, value)| (*key, value))
            .chain(rest)
            .enumerate()
        {
            let before = if i == 0 { '{' } else { ',' };
            write!(writer, "{before}\"{key}\":{value}")?;
        }
        writeln!(writer, "}}")
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::TRACE | Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    }
}

/// Returns crate, folder and file, without the path of the build.
fn caller(metadata: &tracing::Metadata<'_>) -> String {
    let file = metadata.file().unwrap_or_default();
    let start = file.rmatch_indices('/').nth(2).map_or(0, |(slash, _)| slash + 1);
    format!("{}:{}", &file[start..], metadata.line().unwrap_or_default())
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        #[expect(
            clippy::unwrap_in_result,
            reason = "a poisoned lock is a failed test, not a failed write"
        )]
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn causes_are_told_once_and_in_one_line() {
        let inner = std::io::Error::other("no such file\nand a drawing of it");
        let error = anyhow::Error::new(inner)
            .context("cannot read: no such file")
            .context("no key");
        assert_eq!(one_line(error.as_ref()), "no key: cannot read: no such file");
    }

    #[test]
    fn an_answer_of_the_api_server_is_its_message() {
        let status = kube::core::Status::failure("pods \"p1\" not found", "NotFound").with_code(404);
        let error = anyhow::Error::new(kube::Error::Api(Box::new(status))).context("reading the Pod");
        assert_eq!(one_line(error.as_ref()), "reading the Pod: pods \"p1\" not found");
    }

    #[test]
    fn a_line_is_one_json_object_with_the_promised_fields() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(JsonLine)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(address = %"192.0.2.1", count = 3, "quoted \"message\"");
            tracing::warn!("bare");
        });
        let bytes = sink.0.lock().expect("not poisoned").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect(l)).collect();
        assert_eq!(lines[0]["level"], "info");
        assert_eq!(lines[0]["msg"], "quoted \"message\"");
        assert_eq!(
            (&lines[0]["address"], &lines[0]["count"]),
            (&"192.0.2.1".into(), &3.into())
        );
        assert!(lines[0]["caller"].as_str().is_some_and(|c| c.contains("log.rs:")));
        assert!(
            lines[0]["ts"]
                .as_str()
                .is_some_and(|t| t.parse::<jiff::Timestamp>().is_ok())
        );
        assert_eq!(lines[1]["msg"], "bare");
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_marked() {
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten("ä".repeat(20), 15), "äää... (cut)");
        let long = shorten(format_args!("{}{}", "x".repeat(1000), "y".repeat(1 << 20)), 1024);
        assert_eq!((long.len(), long.ends_with("yyy... (cut)")), (1024, true));
    }
}
