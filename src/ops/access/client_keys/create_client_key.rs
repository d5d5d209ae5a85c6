//! CreateClientKey: creates a key pair and certificate for an application. The private key is
//! returned in the response and not stored.

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::ALGORITHM;
use crate::authn::client_key::{IssuedClientKey, issue};
use crate::authz::AccessChange;
use crate::model::{
    AccessName, AccessPoint, Base64Bytes, ClientKeyId, ClientKeyPassword, ClientKeyRecord,
    Plaintext, Time,
};
use crate::ops::access;
use crate::ops::prelude::*;

/// The default validity of a client key: five years.
const DEFAULT_LIFE_SECONDS: i64 = 5 * 365 * 24 * 60 * 60;

/// One at a time: the generation of a pair takes a processor, and the others are for the token.
static ISSUANCE: Semaphore = Semaphore::const_new(1);

operation! {
    pub struct CreateClientKey -> CreatedClientKey {
        validity: Option<(Time, Time)> = with(validity),
        access_point: AccessName = "AapName",
        password: ClientKeyPassword = "Password",
    }

    /// The response.
    pub struct CreatedClientKey {
        client_key_id: ClientKeyId,
        key_algorithm: &'static str,
        not_before: Time,
        not_after: Time,
        /// Base64 of the PKCS#12.
        private_key_data: Plaintext,
    }
}

impl CreatedClientKey {
    /// Its id.
    pub const fn id(&self) -> ClientKeyId {
        self.client_key_id
    }

    /// Base64 of the PKCS#12. The only access to it.
    pub fn private_key_data(&self) -> &str {
        self.private_key_data.expose()
    }
}

fn validity(params: &Params<'_>) -> Result<Option<(Time, Time)>, ParamError> {
    match (params.optional("NotBefore")?, params.optional("NotAfter")?) {
        (None, None) => Ok(None),
        (Some(not_before), Some(not_after)) if not_before < not_after => {
            Ok(Some((not_before, not_after)))
        }
        (None, Some(_)) => Err(ParamError::invalid("NotBefore")),
        (Some(_), _) => Err(ParamError::invalid("NotAfter")),
    }
}

impl Operation for CreateClientKey {
    const EFFECT: ActionEffect = ActionEffect::Changes;

    async fn run(self, cx: &Context) -> Result<CreatedClientKey, ApiError> {
        access::find::<Self, AccessPoint>(cx, &self.access_point)?;
        let change = AccessChange::ClientKey(&self.access_point);
        let resource = access::resource::<AccessPoint>(&self.access_point);
        let validity = self.validity.map(|(from, to)| [from, to].map(|time| time.to_string()));
        let parameters: Vec<_> = validity.iter().flatten().map(String::as_str).collect();
        let approved = access::approve(cx, Self::NAME, resource, change, &parameters).await?;
        let (not_before, not_after) = self
            .validity
            .unwrap_or_else(|| (cx.now(), cx.now().plus_seconds(DEFAULT_LIFE_SECONDS)));
        let id = ClientKeyId::random();
        let issued = issue_client_key(id, self.password, not_before, not_after).await?;
        let record = ClientKeyRecord {
            id,
            access_point: self.access_point,
            certificate_pem: issued.certificate_pem,
            public_key: Base64Bytes(issued.public_key),
            not_before,
            not_after,
            created: cx.now(),
            is_active: true,
            last_used: None,
        };
        // The access point may have changed since the first check.
        let decide = |record: &ClientKeyRecord| {
            access::check_again(cx, AccessChange::ClientKey(&record.access_point), approved)
        };
        cx.store().insert_document_if(record, decide).await?;
        Ok(CreatedClientKey {
            client_key_id: id,
            key_algorithm: ALGORITHM,
            not_before,
            not_after,
            private_key_data: Plaintext::encode(&issued.pkcs12),
        })
    }
}

async fn issue_client_key(
    id: ClientKeyId,
    password: ClientKeyPassword,
    not_before: Time,
    not_after: Time,
) -> Result<IssuedClientKey, ApiError> {
    let failed = || ApiError::from(ErrorCode::InternalFailure);
    // Held to the end of the work, even if the caller has disconnected.
    let permit = ISSUANCE.acquire().await.map_err(|error| failed().because(error))?;
    let work = spawn_blocking(move || {
        let issued = issue(id, &password, not_before, not_after);
        drop(permit);
        issued
    });
    let issued = work.await.map_err(|error| failed().because(error))?;
    issued.map_err(|error| failed().because(error))
}
