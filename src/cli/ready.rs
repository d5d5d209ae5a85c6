//! `hsmgate ready`: waits until a gateway is ready.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http::{StatusCode, Uri};
use http_body_util::Full;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout, timeout_at};

use super::client_file::ClientFile;
use super::connection::{CLIENT_FILE, reachable};
use super::exchange::exchange;
use super::exit::CliError;
use super::output;
use super::settings::ConfigFile;
use crate::config::Config;
use crate::model::clock;

/// The time between two questions.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(5);
/// Maximum length of an answer in bytes.
const MAX_ANSWER: usize = 65_536;

/// Asks `/readyz` of the admin listener until the answer is 200, for scripts and containers. Ends with exit
/// code 6 if the gateway is not ready in time.
#[derive(Debug, Args)]
pub(super) struct Ready {
    /// The URL of the admin listener, such as http://127.0.0.1:9464 [default: that of `hsmgate dev` here, else
    /// that of the configuration]
    #[arg(long, env = "HSMGATE_ADMIN_URL", value_name = "URL")]
    url: Option<Uri>,
    /// How long to wait at most, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    timeout: u32,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: ConfigFile,
}

impl Ready {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let wait = Duration::from_secs(self.timeout.into());
        Runtime::new()?.block_on(async {
            let deadline = clock::timer() + wait;
            loop {
                let last = match self.url().map(|url| (authority(&url), url)) {
                    Ok((Ok(address), url)) => match timeout(QUESTION, ask(&address, &url)).await {
                        Ok(Ok((StatusCode::OK, _answer))) => return self.write(&url),
                        Ok(Ok((status, answer))) => {
                            format!("{url}readyz answers {status}: {answer}")
                        }
                        Ok(Err(error)) => format!("{url}: {error:#}"),
                        Err(_elapsed) => format!("{url} does not answer"),
                    },
                    Ok((Err(error), _url)) => return Err(error),
                    Err(error) if error.is::<CliError>() => return Err(error),
                    // The file of a gateway that starts may not be there yet.
                    Err(error) => format!("{error:#}"),
                };
                if timeout_at(deadline, sleep(INTERVAL)).await.is_err()
                    || clock::timer() >= deadline
                {
                    let told = format!("not ready after {} s: {last}", self.timeout);
                    return Err(CliError::Unreachable(told).into());
                }
            }
        })
    }

    fn write(&self, url: &Uri) -> anyhow::Result<()> {
        let url = url.to_string();
        let object = json!({"url": url, "ready": true});
        Ok(output::change(&object, &format!("{url} is ready"), self.json)?)
    }

    /// The URL of the admin listener.
    fn url(&self) -> anyhow::Result<Uri> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        if let Some(admin) = ClientFile::load(Path::new(CLIENT_FILE))?.and_then(|file| file.admin) {
            return admin.parse().context("the URL of the admin listener");
        }
        let admin = Config::load(self.file.path())?.admin;
        let Some(address) = admin.address else {
            return Err(CliError::usage(
                "admin.address is empty: nothing says whether the gateway is ready",
            )
            .into());
        };
        if admin.client_ca.is_some() {
            let told =
                "the admin listener demands a client certificate: ask it with another program";
            return Err(CliError::usage(told).into());
        }
        format!("http://{}", reachable(address)).parse().context("the URL of the admin listener")
    }
}

/// Host and port of a URL.
fn authority(url: &Uri) -> anyhow::Result<String> {
    match (url.scheme_str(), url.host()) {
        (Some("http"), Some(host)) => Ok(format!("{host}:{}", url.port_u16().unwrap_or(80))),
        _ => Err(CliError::usage(format!("{url} is not of the form http://host:port")).into()),
    }
}

/// One question: the status and the text of the answer.
async fn ask(address: &str, url: &Uri) -> anyhow::Result<(StatusCode, String)> {
    let stream = TcpStream::connect(address).await?;
    let host = url.authority().map_or("", |authority| authority.as_str());
    let request = http::Request::get("/readyz").header(http::header::HOST, host);
    let answer = exchange(stream, request.body(Full::default())?, MAX_ANSWER).await?;
    let text = String::from_utf8_lossy(answer.body()).trim().to_owned();
    Ok((answer.status(), text))
}
