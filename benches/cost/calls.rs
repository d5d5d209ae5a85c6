//! The same call for both programs, in the same number of bytes.

use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderValue, Uri};
use serde_json::{Map, Value};

use crate::requests::{Call, Requests, Signer, written};
use crate::servers::{Program, Servers};

/// The User-Agent of the gateway's request. That of the minimal program is as much shorter as JSON
/// is longer than a query.
const AGENT_BYTES: usize = 128;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Encrypt,
    Decrypt,
    GenerateDataKey,
}

impl Operation {
    pub(crate) const ALL: [Self; 3] = [Self::Encrypt, Self::Decrypt, Self::GenerateDataKey];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "Encrypt",
            Self::Decrypt => "Decrypt",
            Self::GenerateDataKey => "GenerateDataKey",
        }
    }
}

/// So many requests for a program: a signed call with its parameters in the query for the gateway;
/// for the minimal program the head of a signed call, and the parameters as JSON in the body.
pub(crate) fn requests(
    servers: &Servers,
    operation: Operation,
    program: Program,
    count: usize,
) -> anyhow::Result<Requests> {
    let call = servers.call(operation, program);
    let write = |program, call: &Call, agent_bytes| match program {
        Program::Gateway => signed(&servers.signer, call, agent_bytes),
        Program::Minimal => bare(&servers.signer, call, agent_bytes),
    };
    let signed_call = servers.call(operation, Program::Gateway);
    let wanted = write(Program::Gateway, &signed_call, AGENT_BYTES)?.len();
    let length = write(program, &call, AGENT_BYTES)?.len();
    let agent_bytes = AGENT_BYTES.saturating_add(wanted).saturating_sub(length);
    let requests = (0..count).map(|_index| write(program, &call, agent_bytes));
    let requests: Vec<Vec<u8>> = requests.collect::<Result<_, _>>()?;
    anyhow::ensure!(requests.iter().all(|request| request.len() == wanted), "bytes differ");
    Ok(Requests(Arc::new(requests)))
}

fn signed(signer: &Signer, call: &Call, agent_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let mut request = signer.sign(call)?;
    request.headers_mut().insert(USER_AGENT, agent(agent_bytes)?);
    written(&request, b"")
}

fn bare(signer: &Signer, call: &Call, agent_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let mut request = signer.sign(call)?;
    request.headers_mut().insert(USER_AGENT, agent(agent_bytes)?);
    *request.uri_mut() = Uri::from_static("/");
    let params = call.params.iter();
    let body: Map<String, Value> =
        params.map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    written(&request, &serde_json::to_vec(&body)?)
}

fn agent(bytes: usize) -> anyhow::Result<HeaderValue> {
    Ok(HeaderValue::try_from("a".repeat(bytes))?)
}
