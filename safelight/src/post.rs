//! `safelight post`: uploads files and folders, and follows what becomes of them.

mod files;
mod follow;
mod form;
mod report;
mod retry;
mod upload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;
use futures::stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::span;
use files::File;
use report::Report;
use upload::{Receiver, Taken};

/// How many files are uploaded at a time.
const UPLOADS: usize = 4;
/// How many images are asked for at a time, the first posted first.
const FOLLOWED: usize = 64;

/// Which files are posted, and how. The program exits with 0 where all is well, with 2 where files were refused, with
/// 3 where some failed (`--wait`), with 78 where an argument is wrong.
#[derive(Args, Debug)]
pub(crate) struct PostArgs {
    /// files, and folders whose files are meant, those in them included; in folders symbolic links and names that
    /// begin with a dot are passed over
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// who gets a mail when a file is done
    #[arg(long)]
    email: Option<String>,
    /// the address that is called when a file is done
    #[arg(long)]
    webhook: Option<String>,
    /// the project that the files belong to
    #[arg(long)]
    project: Option<String>,
    /// the receiver
    #[arg(long, default_value = "http://127.0.0.1:8000", value_parser = http_url)]
    url: String,
    /// stay until all files are done, and tell of each step
    #[arg(long)]
    wait: bool,
    /// how often each file is asked for while waiting
    #[arg(long, default_value = "500ms", value_parser = span::parse)]
    every: Duration,
    /// how often an upload is tried while the receiver is away or busy, or where its answer was lost, 1 to 1000; the file
    /// is there once all the same
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    tries: u32,
    /// print an object of JSON for each file, and one for all in the end
    #[arg(long)]
    json: bool,
}

/// Posts the files, and waits for them where that was asked for.
pub(crate) async fn run(arguments: PostArgs) -> anyhow::Result<ExitCode> {
    let query = [
        ("email", &arguments.email),
        ("webhook", &arguments.webhook),
        ("project", &arguments.project),
    ];
    let query = query
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.clone()?)))
        .collect();
    let receiver = Receiver::new(&arguments.url, query, arguments.tries)?;
    let named = arguments.files;
    let files = tokio::task::spawn_blocking(move || files::find(&named)).await?;

    let report = Report::new(files.len(), arguments.json, arguments.wait);
    let (posted, to_follow) = mpsc::unbounded_channel();
    let uploads = async {
        stream::iter(files)
            .for_each_concurrent(UPLOADS, async |file| {
                if let Some(taken) = post(&receiver, &report, &file).await {
                    // Nobody listens only where nothing is to be followed.
                    let _unheard = posted.send((file.path, taken));
                }
            })
            .await;
        drop(posted);
    };
    let following = async {
        if !arguments.wait {
            return drop(to_follow);
        }
        UnboundedReceiverStream::new(to_follow)
            .for_each_concurrent(FOLLOWED, async |(file, taken): (PathBuf, Taken)| {
                let on_change = |change: &str| report.changed(&file, change);
                let end = follow::follow(&receiver, taken.id, arguments.every, on_change).await;
                report.ended(&file, &taken, &end);
            })
            .await;
    };
    tokio::join!(uploads, following);
    Ok(report.finish())
}

/// Uploads one file and says what came of it.
async fn post(receiver: &Receiver, report: &Report, file: &File) -> Option<Taken> {
    let path: &Path = &file.path;
    let taken = match &file.length {
        Err(why) => Err(why.clone()),
        Ok(length) => {
            let sent = Arc::new(AtomicU64::new(0));
            tokio::select! {
                taken = receiver.upload(path, &sent) => taken,
                never = report.uploading(path, *length, &sent) => match never {},
            }
        }
    };
    match taken {
        Ok(taken) => {
            report.posted(path, &taken);
            Some(taken)
        }
        Err(why) => {
            report.refused(path, &why);
            None
        }
    }
}

fn http_url(text: &str) -> Result<String, String> {
    match reqwest::Url::parse(text) {
        Ok(url) if url.scheme() == "http" && url.has_host() && url.query().is_none() => Ok(text.to_owned()),
        _ => Err("expected http://HOST:PORT; the receiver itself speaks no TLS".to_owned()),
    }
}
