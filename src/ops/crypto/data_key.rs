//! The parameters of the GenerateDataKey operations.

use crate::model::{EncryptionContext, FromParams, KeyRef, ParamError, Params};

/// The maximum bytes of a data key (GenerateDataKey, parameter NumberOfBytes).
const MAX_BYTES: usize = 1024;

/// The parameters that the operations share.
#[derive(Debug)]
pub(super) struct DataKeyRequest {
    pub(super) key: KeyRef,
    /// The length of the data key, 1 to [`MAX_BYTES`].
    pub(super) bytes: usize,
    pub(super) context: EncryptionContext,
}

impl FromParams for DataKeyRequest {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        Ok(Self {
            key: params.required("KeyId")?,
            bytes: length(params)?,
            context: EncryptionContext::from_params(params, "EncryptionContext")?,
        })
    }
}

/// `NumberOfBytes` overrides `KeySpec`; the default is 32 bytes.
fn length(params: &Params<'_>) -> Result<usize, ParamError> {
    let of_spec = match params.text("KeySpec").map(str::trim) {
        None | Some("" | "AES_256") => 32,
        Some("AES_128") => 16,
        Some(_) => return Err(ParamError::invalid("KeySpec")),
    };
    match params.optional::<u32>("NumberOfBytes")? {
        None => Ok(of_spec),
        Some(bytes) => match usize::try_from(bytes) {
            Ok(bytes @ 1..=MAX_BYTES) => Ok(bytes),
            _ => Err(ParamError::invalid("NumberOfBytes")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length_of(pairs: &[(&'static str, &'static str)]) -> Result<usize, ParamError> {
        let mut params = Params::default();
        for (name, value) in pairs {
            params.insert(*name, *value).unwrap();
        }
        length(&params)
    }

    #[test]
    fn the_number_of_bytes_wins_over_the_spec() {
        assert_eq!(length_of(&[]), Ok(32));
        assert_eq!(length_of(&[("KeySpec", " AES_128")]), Ok(16));
        assert_eq!(length_of(&[("KeySpec", "AES_128"), ("NumberOfBytes", "1024")]), Ok(1024));
    }

    #[test]
    fn a_length_out_of_range_is_refused_by_name() {
        for bytes in ["0", "1025", "-1", "x"] {
            let refused = length_of(&[("NumberOfBytes", bytes)]);
            assert_eq!(refused, Err(ParamError::invalid("NumberOfBytes")), "{bytes}");
        }
        assert_eq!(length_of(&[("KeySpec", "AES_512")]), Err(ParamError::invalid("KeySpec")));
    }
}
