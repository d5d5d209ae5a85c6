//! GetRandomPassword: returns a password of random bytes of the token. It is not stored.

use std::fmt;

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::ops::prelude::*;

const LOWERCASE: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPERCASE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const NUMBERS: &str = "0123456789";
const PUNCTUATION: &str = r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##;

/// The random bytes of one call to the token.
const BLOCK_BYTES: usize = 1024;
/// The maximum number of calls to the token. A password that needs more has a probability below one
/// in 10⁹, whatever is excluded.
const MAX_BLOCKS: usize = 64;

operation! {
    pub struct GetRandomPassword -> GeneratedPassword {
        length: usize = with(length),
        sets: CharacterSets = with(CharacterSets::from_params),
        requires_each: bool = "RequireEachIncludedType" or(true),
    }

    /// The response.
    pub struct GeneratedPassword {
        random_password: Password,
    }
}

fn length(params: &Params<'_>) -> Result<usize, ParamError> {
    let length: u32 = params.optional("PasswordLength")?.unwrap_or(32);
    let length = usize::try_from(length).ok().filter(|length| (8..=128).contains(length));
    length.ok_or(ParamError::invalid("PasswordLength"))
}

impl Operation for GetRandomPassword {
    const EFFECT: ActionEffect = ActionEffect::Reads;
    const COST_CLASS: CostClass = CostClass::Cryptographic;

    async fn run(self, cx: &Context) -> Result<GeneratedPassword, ApiError> {
        let grant = cx.account::<Self>("*")?;
        for _block in 0..MAX_BLOCKS {
            let random = cx.keyring().random(&grant, BLOCK_BYTES, cx.execution()?).await?;
            let password = self.sets.password(&random, self.length, self.requires_each);
            if let Some(random_password) = password {
                return Ok(GeneratedPassword { random_password });
            }
        }
        Err(ErrorCode::InternalFailure.into())
    }
}

/// A password, wiped when dropped.
pub struct Password(Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The included characters, by their type. No set is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CharacterSets(Vec<Vec<u8>>);

impl CharacterSets {
    fn from_params(params: &Params<'_>) -> Result<Self, ParamError> {
        const EXCLUDED: &str = "ExcludeCharacters";
        let excluded: String = params.optional(EXCLUDED)?.unwrap_or_default();
        let mut sets = Vec::new();
        for (name, set) in [
            ("ExcludeLowercase", LOWERCASE),
            ("ExcludeUppercase", UPPERCASE),
            ("ExcludeNumbers", NUMBERS),
            ("ExcludePunctuation", PUNCTUATION),
        ] {
            let is_excluded = params.optional(name)?.unwrap_or(false);
            let included = set.chars().filter(|one| !is_excluded && !excluded.contains(*one));
            let included: Vec<u8> = included.filter_map(|one| u8::try_from(one).ok()).collect();
            if !included.is_empty() {
                sets.push(included);
            }
        }
        if sets.is_empty() { Err(ParamError::invalid(EXCLUDED)) } else { Ok(Self(sets)) }
    }

    /// A password from random bytes, each of the possible ones with the same probability. `None` if
    /// the bytes do not suffice.
    fn password(&self, random: &[u8], length: usize, requires_each: bool) -> Option<Password> {
        let characters: Vec<u8> = self.0.concat();
        // Bytes from here on would make the first characters more probable.
        let unbiased = 256 / characters.len() * characters.len();
        let mut drawn = random.iter().map(|byte| usize::from(*byte)).filter(|one| *one < unbiased);
        loop {
            let mut password = Zeroizing::new(String::with_capacity(length));
            for _character in 0..length {
                let at = drawn.next()? % characters.len();
                password.push(char::from(*characters.get(at)?));
            }
            let has_each =
                || self.0.iter().all(|set| password.bytes().any(|one| set.contains(&one)));
            if !requires_each || has_each() {
                return Some(Password(password));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(pairs: &[(&'static str, &'static str)]) -> Result<CharacterSets, ParamError> {
        let mut params = Params::default();
        for (name, value) in pairs {
            params.insert(*name, *value).unwrap();
        }
        CharacterSets::from_params(&params)
    }

    #[test]
    fn every_character_has_the_same_probability() {
        let all: Vec<u8> = (0..=255).collect();
        let characters = sets(&[]).unwrap().0.concat();
        assert_eq!(characters.len(), 94);
        let password = sets(&[]).unwrap().password(&all, 128, false).unwrap();
        for character in &characters {
            let count = password.0.bytes().filter(|one| one == character).count();
            assert!((1..=2).contains(&count), "{}", char::from(*character));
        }
        // 188 of 256 bytes are used, each character twice.
        assert!(sets(&[]).unwrap().password(&all, 188, false).is_some());
        assert!(sets(&[]).unwrap().password(&all, 189, false).is_none());
    }

    #[test]
    fn excluded_characters_do_not_occur_and_each_included_type_does() {
        let random: Vec<u8> =
            (0..4096_u32).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect();
        let only = sets(&[
            ("ExcludePunctuation", "true"),
            ("ExcludeUppercase", "True"),
            ("ExcludeCharacters", "abc012345678"),
        ]);
        let only = only.unwrap();
        let Password(password) = only.password(&random, 32, true).unwrap();
        assert!(
            password.bytes().all(|one| b"defghijklmnopqrstuvwxyz9".contains(&one)),
            "{}",
            *password
        );
        assert!(password.contains('9'));
    }

    #[test]
    fn nothing_to_draw_from_and_a_wrong_length_are_refused() {
        let none = ["ExcludeLowercase", "ExcludeUppercase", "ExcludeNumbers", "ExcludePunctuation"];
        assert_eq!(
            sets(&none.map(|name| (name, "true"))),
            Err(ParamError::invalid("ExcludeCharacters"))
        );
        for (text, expected) in [("8", Some(8)), ("128", Some(128)), ("7", None), ("129", None)] {
            let mut params = Params::default();
            params.insert("PasswordLength", text).unwrap();
            assert_eq!(length(&params).ok(), expected, "{text}");
        }
        assert_eq!(length(&Params::default()), Ok(32));
    }
}
