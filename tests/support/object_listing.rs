//! The objects of a token as another program lists them: pkcs11-tool.

/// Checks that each private and secret key of a listing is sensitive and not extractable, and returns the
/// number of these keys.
///
/// # Errors
/// The first key that is open, as pkcs11-tool shows it.
pub(crate) fn check_all_closed(objects: &str) -> Result<usize, String> {
    let mut keys = 0;
    for object in
        objects.split("Private Key Object").flat_map(|part| part.split("Secret Key Object")).skip(1)
    {
        // A public key may follow.
        let object = object.split("Public Key Object").next().unwrap_or_default();
        let access = object.split_once("Access:").map_or("", |(_before, access)| access);
        let words: Vec<_> =
            access.lines().next().unwrap_or_default().split(',').map(str::trim).collect();
        if !words.contains(&"sensitive") || words.contains(&"extractable") {
            return Err(object.to_owned());
        }
        keys += 1;
    }
    Ok(keys)
}
