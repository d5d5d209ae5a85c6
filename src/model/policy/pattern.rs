//! Texts with wildcards: `*` stands for any text, an empty one too, and `?` for one character.

/// The most bytes of one pattern. Matching takes at most the product of both lengths.
pub(super) const MAX_PATTERN_BYTES: usize = 1024;

/// A pattern, sorted by what matching it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    /// `*`.
    Any,
    /// No wildcard.
    Exact(Box<str>),
    /// One `*`, at the end.
    Prefix(Box<str>),
    /// Anything else.
    Glob(Box<str>),
}

impl Pattern {
    /// The pattern that `text` spells. Every text is one.
    pub(super) fn new(text: &str) -> Self {
        let start = text.trim_end_matches('*');
        match (start.contains(['*', '?']), start.len() == text.len()) {
            (true, _) => Self::Glob(text.into()),
            (false, true) => Self::Exact(text.into()),
            (false, false) if start.is_empty() => Self::Any,
            (false, false) => Self::Prefix(start.into()),
        }
    }

    /// Whether it is `*`, so that the text need not be known.
    pub(super) fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }

    /// Whether it stands for `text`.
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Glob(glob) => glob_matches(glob.as_bytes(), text.as_bytes(), |a, b| a == b),
        }
    }

    /// The same, where ASCII letters match in either case.
    pub(super) fn matches_ignoring_case(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.eq_ignore_ascii_case(text),
            Self::Prefix(prefix) => text
                .as_bytes()
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())),
            Self::Glob(glob) => {
                glob_matches(glob.as_bytes(), text.as_bytes(), u8::eq_ignore_ascii_case)
            }
        }
    }
}

/// Goes through both texts once, and back to the last `*` when they part.
fn glob_matches(glob: &[u8], text: &[u8], is_same: impl Fn(&u8, &u8) -> bool) -> bool {
    let (mut at_glob, mut at_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(at_text) {
        match glob.get(at_glob) {
            Some(b'*') => {
                last_star = Some((at_glob, at_text));
                at_glob += 1;
                continue;
            }
            Some(b'?') => {
                at_glob += 1;
                at_text = end_of_char(text, at_text);
                continue;
            }
            Some(wanted) if is_same(wanted, byte) => {
                at_glob += 1;
                at_text += 1;
                continue;
            }
            _ => {}
        }
        let Some((star, taken)) = last_star.as_mut() else { return false };
        *taken += 1;
        (at_glob, at_text) = (*star + 1, *taken);
    }
    glob.get(at_glob..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// Where the character that begins at `start` ends.
fn end_of_char(text: &[u8], start: usize) -> usize {
    let is_inside =
        |at: &usize| text.get(*at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    (start + 1..=text.len()).find(|at| !is_inside(at)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_sorted_by_its_cost() {
        assert_eq!(Pattern::new("*"), Pattern::Any);
        assert_eq!(Pattern::new("**"), Pattern::Any);
        assert_eq!(Pattern::new("kms:Encrypt"), Pattern::Exact("kms:Encrypt".into()));
        assert_eq!(Pattern::new("kms:List*"), Pattern::Prefix("kms:List".into()));
        for glob in ["*a", "a*b", "a?", "?*"] {
            assert_eq!(Pattern::new(glob), Pattern::Glob(glob.into()));
        }
    }

    #[test]
    fn a_star_is_any_text_and_a_question_mark_one_character() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("acs:kms:*:*:key/*", "acs:kms:cn-hangzhou:1234567890123456:key/abc", true),
            ("acs:kms:*:*:key/*", "acs:kms:cn-hangzhou:1234567890123456:alias/abc", false),
            ("?", "", false),
            ("?", "字", true),
            ("??", "字", false),
            ("*?", "字", true),
            ("*??", "字", false),
            ("?*", "é", true),
            ("a?c", "aéc", true),
            ("***a***?", "xxab", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), matches, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn case_counts_only_where_it_is_asked_to() {
        for pattern in ["KMS:Encrypt", "kms:ENC*", "kms:?ncrYpt"] {
            let pattern = Pattern::new(pattern);
            assert!(pattern.matches_ignoring_case("kms:Encrypt"), "{pattern:?}");
            assert!(!pattern.matches("kms:Encrypt"), "{pattern:?}");
        }
    }
}
