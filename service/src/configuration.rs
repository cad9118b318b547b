//! The one place that reads configuration: flags, environment variables, and a `.env` file.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Parser};

/// The exit status of a program whose configuration is wrong (`EX_CONFIG` of `sysexits.h`). Trying again
/// without a change will not help, and a Kubernetes Job can be told so.
pub const CONFIGURATION_ERROR: i32 = 78;

/// Reads `.env` (of the working directory or the nearest parent; what the environment already says wins)
/// and then the flags and environment variables of `A`.
///
/// A wrong value ends the program with [`CONFIGURATION_ERROR`] and one line that names the variable, the
/// value and what was expected.
pub fn parse<A: Parser>() -> A {
    if let Err(error) = dotenvy::dotenv()
        && !error.not_found()
    {
        configuration_error(format!(".env: {error}; expected lines of the form NAME=value"));
    }
    match parse_from(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(Failure::Told(error)) => error.exit(),
        Err(Failure::Wrong(line)) => configuration_error(line),
    }
}

/// Ends the program with [`CONFIGURATION_ERROR`] and `line` on standard error. For what only shows to be
/// wrong after parsing, such as a folder that does not exist.
pub fn configuration_error(line: impl std::fmt::Display) -> ! {
    eprintln!("configuration: {line}");
    std::process::exit(CONFIGURATION_ERROR)
}

/// Why there are no arguments.
#[derive(Debug)]
pub enum Failure {
    /// `--help`, `--version`, or a command line whose shape is wrong: clap's own words fit best.
    Told(Box<clap::Error>),
    /// A value that was refused, in one line.
    Wrong(String),
}

/// [`parse`] without its effects: from these arguments and the environment.
///
/// # Errors
/// [`Failure`] says what was wrong, or what help was asked for.
pub fn parse_from<A: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<A, Failure> {
    A::try_parse_from(arguments).map_err(|error| match one_line(&error, &A::command()) {
        Some(line) => Failure::Wrong(line),
        None => Failure::Told(Box::new(error)),
    })
}

fn one_line(error: &clap::Error, command: &clap::Command) -> Option<String> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg)?;
    let name = |shown: &str| match find(command, shown) {
        Some(found) => variable(found).unwrap_or_else(|| shown.to_owned()),
        None => shown.to_owned(),
    };
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let value = context(ContextKind::InvalidValue).unwrap_or_default();
            let expected = match (context(ContextKind::ValidValue), find(command, &argument)) {
                (Some(values), _) => format!("one of: {values}"),
                (None, Some(found)) => meaning(found),
                (None, None) => argument.clone(),
            };
            let why = std::error::Error::source(error)
                .map(|source| format!(" ({source})"))
                .unwrap_or_default();
            Some(format!(
                "{}: '{value}' was given{why}; expected {expected}",
                name(&argument)
            ))
        }
        ErrorKind::MissingRequiredArgument => {
            let missing: Vec<String> = argument.split(", ").map(name).collect();
            Some(format!(
                "{}: not set, and there is no default",
                missing.join(", ")
            ))
        }
        _ => None,
    }
}

/// The argument that clap shows as `--listen <LISTEN>`, in this command or one of its subcommands.
fn find<'a>(command: &'a clap::Command, shown: &str) -> Option<&'a Arg> {
    let mine = command.get_arguments().find(|argument| {
        let flag = argument.get_long().map(|long| format!("--{long}"));
        flag.is_some_and(|flag| shown.split_whitespace().next() == Some(flag.as_str()))
    });
    mine.or_else(|| {
        command
            .get_subcommands()
            .find_map(|subcommand| find(subcommand, shown))
    })
}

fn variable(argument: &Arg) -> Option<String> {
    let environment = argument.get_env()?.to_str()?;
    Some(match argument.get_long() {
        Some(long) => format!("{environment} (--{long})"),
        None => environment.to_owned(),
    })
}

fn meaning(argument: &Arg) -> String {
    argument
        .get_help()
        .map(|help| help.to_string())
        .unwrap_or_else(|| argument.get_id().to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[derive(Debug, Parser)]
    struct Arguments {
        /// an address and port to listen on, such as 0.0.0.0:8000
        #[arg(long, env = "TEST_ONLY_LISTEN", default_value = "127.0.0.1:8000")]
        listen: SocketAddr,
        /// the log format
        #[arg(long, env = "TEST_ONLY_FORMAT", value_parser = ["text", "json"], default_value = "text")]
        format: String,
        /// where the recognizer is
        #[arg(long, env = "TEST_ONLY_ADDRESS")]
        address: String,
    }

    fn failure(arguments: &[&str]) -> String {
        let arguments = std::iter::once("program")
            .chain(arguments.iter().copied())
            .map(OsString::from);
        match parse_from::<Arguments>(arguments) {
            Err(Failure::Wrong(line)) => line,
            other => panic!("expected one line, got {other:?}"),
        }
    }

    #[test]
    fn a_wrong_value_is_told_in_one_line_with_its_variable_and_what_was_expected() {
        let line = failure(&["--listen", "nowhere", "--address", "a"]);
        assert!(!line.contains('\n'), "{line}");
        assert!(
            line.starts_with("TEST_ONLY_LISTEN (--listen): 'nowhere' was given"),
            "{line}"
        );
        assert!(
            line.ends_with("expected an address and port to listen on, such as 0.0.0.0:8000"),
            "{line}"
        );
    }

    #[test]
    fn a_value_out_of_a_list_is_told_with_the_list() {
        let line = failure(&["--format", "xml", "--address", "a"]);
        assert_eq!(
            line,
            "TEST_ONLY_FORMAT (--format): 'xml' was given; expected one of: text, json"
        );
    }

    #[test]
    fn a_missing_value_is_told_with_its_variable() {
        assert_eq!(
            failure(&[]),
            "TEST_ONLY_ADDRESS (--address): not set, and there is no default"
        );
    }
}
