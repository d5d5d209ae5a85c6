//! Selects the slot of the configured token, at the start and in a recovery.

use super::error::TokenError;
use super::settings::{TokenInfo, TokenSelector};

/// The token that a recovery looks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct LostToken<'a> {
    /// Its information from before the loss.
    pub(super) info: &'a TokenInfo,
    /// Whether the recovery then searches for the key that identifies the token. Only then a token
    /// with another serial number is accepted: the slot of a group of HSMs shows the number of the
    /// member that responds.
    pub(super) is_verified_by_key: bool,
}

impl LostToken<'_> {
    fn has_same_texts(&self, info: &TokenInfo) -> bool {
        info.serial == self.info.serial && info.label == self.info.label
    }
}

/// The index of the only token that fits the selector. If a lost token is looked for, serial number
/// and label together decide between several: slots of NSS share a serial number, and that of
/// openCryptoki is empty.
///
/// # Errors
/// `Selection`, with the tokens that the module shows.
pub(super) fn select(
    shown: &[TokenInfo],
    selector: &TokenSelector,
    lost: Option<LostToken<'_>>,
) -> Result<usize, TokenError> {
    let fitting: Vec<usize> = indices(shown, |info| selector.matches(info));
    let chosen = match lost {
        None => fitting,
        Some(lost) => {
            let same = indices(shown, |info| selector.matches(info) && lost.has_same_texts(info));
            if same.is_empty() && lost.is_verified_by_key { fitting } else { same }
        }
    };
    match chosen.as_slice() {
        [only] => Ok(*only),
        _ => Err(TokenError::Selection {
            found: chosen.len(),
            selector: selector.to_string(),
            shown: listing(shown),
        }),
    }
}

fn indices(shown: &[TokenInfo], fits: impl Fn(&TokenInfo) -> bool) -> Vec<usize> {
    shown
        .iter()
        .enumerate()
        .filter(|(_index, info)| fits(info))
        .map(|(index, _info)| index)
        .collect()
}

/// The tokens for an error message.
fn listing(shown: &[TokenInfo]) -> String {
    if shown.is_empty() {
        return "no token".to_owned();
    }
    let token =
        |info: &TokenInfo| format!("label {:?} with serial number {:?}", info.label, info.serial);
    shown.iter().map(token).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(label: &str, serial: &str) -> TokenInfo {
        let (label, serial) = (label.to_owned(), serial.to_owned());
        let [manufacturer, model, firmware] = [(); 3].map(|()| String::new());
        TokenInfo { label, serial, manufacturer, model, firmware }
    }

    fn found(outcome: Result<usize, TokenError>) -> usize {
        match outcome {
            Err(TokenError::Selection { found, .. }) => found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn exactly_one_token_must_fit_and_the_error_lists_what_was_shown() {
        let shown = [token("one", "1"), token("two", "2"), token("two", "3")];
        let label = |label: &str| TokenSelector::Label(label.to_owned());
        assert_eq!(select(&shown, &label("one"), None).unwrap(), 0);
        assert_eq!(select(&shown, &TokenSelector::Serial("3".into()), None).unwrap(), 2);
        assert_eq!(found(select(&shown, &label("two"), None)), 2);
        let error = select(&shown, &label("three"), None).unwrap_err().to_string();
        assert!(error.contains("label \"one\" with serial number \"1\""), "{error}");
        let error = select(&[], &label("three"), None).unwrap_err().to_string();
        assert!(error.contains("no token"), "{error}");
    }

    #[test]
    fn a_lost_token_is_found_among_slots_that_share_its_serial_number() {
        let shown = [token("generic", "0"), token("keys", "0")];
        let lost = LostToken { info: &shown[1], is_verified_by_key: false };
        for selector in [TokenSelector::Label("keys".into()), TokenSelector::Serial("0".into())] {
            assert_eq!(select(&shown, &selector, Some(lost)).unwrap(), 1, "{selector}");
        }
    }

    #[test]
    fn another_serial_number_is_accepted_only_where_a_key_identifies_the_token() {
        let (before, after) = (token("group", "1"), [token("group", "2")]);
        let selector = TokenSelector::Label("group".into());
        let lost = |is_verified_by_key| Some(LostToken { info: &before, is_verified_by_key });
        assert_eq!(select(&after, &selector, lost(true)).unwrap(), 0);
        assert_eq!(found(select(&after, &selector, lost(false))), 0);
        let with_same = [token("group", "2"), before.clone()];
        assert_eq!(select(&with_same, &selector, lost(true)).unwrap(), 1);
        let others = [token("group", "2"), token("group", "3")];
        assert_eq!(found(select(&others, &selector, lost(true))), 2);
    }
}
