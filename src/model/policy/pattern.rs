//! Patterns with wildcards: `*` matches any text, even an empty one, and `?` matches one character.

use super::steps::Steps;

/// Maximum length of a pattern in bytes.
pub(super) const MAX_PATTERN_BYTES: usize = 1024;

/// Maximum length in bytes of a pattern to attach with wildcards before its end: longer than any
/// ARN.
pub(super) const MAX_GLOB_BYTES: usize = 512;

/// A pattern, classified by its matching cost.
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

/// How many of the requests in a set something applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// To none of them.
    None,
    /// To some of them, or it is not known to which.
    Some,
    /// To all of them.
    All,
}

/// Whether ASCII case is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// It is compared.
    Sensitive,
    /// It is ignored.
    Insensitive,
}

impl Pattern {
    /// The pattern of `text`. Every text is a valid pattern.
    pub(super) fn new(text: &str) -> Self {
        let start = text.trim_end_matches('*');
        match (start.contains(['*', '?']), start.len() == text.len()) {
            (true, _) => Self::Glob(text.into()),
            (false, true) => Self::Exact(text.into()),
            (false, false) if start.is_empty() => Self::Any,
            (false, false) => Self::Prefix(start.into()),
        }
    }

    /// Whether it is `*`, so that the text is not needed.
    pub(super) fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }

    /// Whether it has no character beside wildcards.
    pub(super) fn is_wildcards_only(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(_) | Self::Prefix(_) => false,
            Self::Glob(glob) => glob.chars().all(|char| matches!(char, '*' | '?')),
        }
    }

    /// Whether it matches `text`. Meaningless once the steps are exhausted.
    pub(super) fn matches(&self, text: &str, case: Case, steps: &Steps) -> bool {
        steps.take(1)
            && match self {
                Self::Any => true,
                Self::Exact(exact) => is_equal(exact.as_bytes(), text.as_bytes(), case),
                Self::Prefix(prefix) => {
                    let start = text.as_bytes().get(..prefix.len());
                    start.is_some_and(|start| is_equal(prefix.as_bytes(), start, case))
                }
                Self::Glob(glob) => glob_matches(glob, text, case, steps),
            }
    }

    /// Which of the texts it matches that have this prefix and continue with characters of key ids.
    /// Once the steps are exhausted, the result is [`Extent::Some`].
    pub(super) fn extent(&self, prefix: &str, steps: &Steps) -> Extent {
        match self {
            Self::Any => Extent::All,
            Self::Prefix(own) if prefix.starts_with(&**own) => Extent::All,
            Self::Exact(own) | Self::Prefix(own) => match own.strip_prefix(prefix) {
                Some(rest) if rest.chars().all(is_in_key_id) => Extent::Some,
                _ => Extent::None,
            },
            Self::Glob(glob) => glob_extent(glob, prefix, steps),
        }
    }

    /// The maximum number of steps to match a text of at most `longest` bytes.
    pub(super) fn worst_steps(&self, longest: usize, case: Case) -> usize {
        let Self::Glob(glob) = self else { return 1 };
        let (head, middle, tail) = parts(glob);
        let searches = middle.map(|segment| {
            if is_plain(segment, case) {
                Steps::to_scan(segment.len())
            } else {
                segment.len().saturating_mul(longest)
            }
        });
        let searches = searches.reduce(usize::saturating_add);
        // The searches for plain segments together scan the text once.
        let searches = searches.map_or(0, |all| all.saturating_add(Steps::to_scan(longest)));
        searches.saturating_add(head.len() + tail.map_or(0, str::len) + 1)
    }

    /// Whether it is too long to be attached.
    pub(super) fn is_overlong_glob(&self) -> bool {
        matches!(self, Self::Glob(glob) if glob.len() > MAX_GLOB_BYTES)
    }
}

/// The parts before the first `*`, between the first and the last, and after the last.
fn parts(glob: &str) -> (&str, impl Iterator<Item = &str>, Option<&str>) {
    let (head, rest) = glob.split_once('*').map_or((glob, None), |(head, rest)| (head, Some(rest)));
    let (middle, tail) = match rest {
        None => (None, None),
        Some(rest) => rest
            .rsplit_once('*')
            .map_or((None, Some(rest)), |(middle, tail)| (Some(middle), Some(tail))),
    };
    let middle = middle.into_iter().flat_map(|middle| middle.split('*'));
    (head, middle.filter(|segment| !segment.is_empty()), tail)
}

/// Both ends are anchored. Each segment between them is searched once, from the end of the previous
/// match: if any match exists, one exists with every segment at its leftmost position.
fn glob_matches(glob: &str, text: &str, case: Case, steps: &Steps) -> bool {
    let (head, middle, tail) = parts(glob);
    let Some(rest) = without_start(text, head, case, steps) else { return false };
    let Some(tail) = tail else { return rest.is_empty() };
    let Some(mut rest) = without_end(rest, tail, case, steps) else { return false };
    for segment in middle {
        match behind(rest, segment, case, steps) {
            Some(left) => rest = left,
            None => return false,
        }
    }
    true
}

/// Follows all ways to match the prefix with the start of the glob. The texts with the prefix all
/// match if one way ends before a last `*`.
fn glob_extent(glob: &str, prefix: &str, steps: &Steps) -> Extent {
    let glob: Vec<char> = glob.chars().collect();
    // Where a way may stand: before the character with this index, or at the end.
    let mut reached = vec![false; glob.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    skip_stars(&glob, &mut reached);
    for found in prefix.chars() {
        if !steps.take(glob.len() + 1) {
            return Extent::Some;
        }
        let mut next = vec![false; glob.len() + 1];
        for (at, wanted) in glob.iter().enumerate() {
            let to = if *wanted == '*' { at } else { at + 1 };
            let is_step = *wanted == '*' || is_same(*wanted, found, Case::Sensitive);
            let stands_here = reached.get(at).is_some_and(|is_here| *is_here);
            if let Some(place) = next.get_mut(to).filter(|_place| stands_here && is_step) {
                *place = true;
            }
        }
        skip_stars(&glob, &mut next);
        reached = next;
    }
    if glob.last() == Some(&'*') && reached.last() == Some(&true) {
        return Extent::All;
    }
    let is_completed =
        |rest: &[char]| rest.iter().all(|at| "*?".contains(*at) || is_in_key_id(*at));
    let mut ways = reached.iter().enumerate().filter(|(_at, is_reached)| **is_reached);
    let is_matched = ways.any(|(at, _)| glob.get(at..).is_some_and(is_completed));
    if is_matched { Extent::Some } else { Extent::None }
}

/// Whether a key id may contain it.
fn is_in_key_id(char: char) -> bool {
    char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-'
}

/// A way that stands before a `*` also stands after it.
fn skip_stars(glob: &[char], reached: &mut [bool]) {
    for (at, wanted) in glob.iter().enumerate() {
        let stands_here = reached.get(at).is_some_and(|is_here| *is_here);
        if let Some(after) = reached.get_mut(at + 1).filter(|_after| stands_here && *wanted == '*')
        {
            *after = true;
        }
    }
}

/// The text after a segment at its start, if it starts with it.
fn without_start<'t>(text: &'t str, segment: &str, case: Case, steps: &Steps) -> Option<&'t str> {
    let mut left = text.chars();
    for wanted in segment.chars() {
        if !steps.take(1) || !is_same(wanted, left.next()?, case) {
            return None;
        }
    }
    Some(left.as_str())
}

/// The text before a segment at its end, if it ends with it.
fn without_end<'t>(text: &'t str, segment: &str, case: Case, steps: &Steps) -> Option<&'t str> {
    let mut left = text.chars();
    for wanted in segment.chars().rev() {
        if !steps.take(1) || !is_same(wanted, left.next_back()?, case) {
            return None;
        }
    }
    Some(left.as_str())
}

/// The text after the first match of a segment. A plain segment is found in time linear in both
/// lengths; one with `?` takes their product in the worst case.
fn behind<'t>(text: &'t str, segment: &str, case: Case, steps: &Steps) -> Option<&'t str> {
    if is_plain(segment, case) {
        let found = text.split_once(segment).map(|(_before, rest)| rest);
        let passed = text.len() - found.map_or(0, str::len);
        let is_afforded = steps.take(Steps::to_scan(passed));
        return found.filter(|_rest| is_afforded);
    }
    let mut from = text;
    while !steps.is_exhausted() {
        if let Some(rest) = without_start(from, segment, case, steps) {
            return Some(rest);
        }
        let mut chars = from.chars();
        chars.next()?;
        from = chars.as_str();
    }
    None
}

fn is_equal(one: &[u8], other: &[u8], case: Case) -> bool {
    one == other || (case == Case::Insensitive && one.eq_ignore_ascii_case(other))
}

fn is_plain(segment: &str, case: Case) -> bool {
    case == Case::Sensitive && !segment.contains('?')
}

fn is_same(wanted: char, found: char, case: Case) -> bool {
    wanted == '?'
        || wanted == found
        || (case == Case::Insensitive && wanted.eq_ignore_ascii_case(&found))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::policy::steps::MAX_STEPS;

    fn does_match(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).matches(text, Case::Sensitive, &Steps::default())
    }

    /// The definition of the wildcards, character by character.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            (['*', rest @ ..], text) => {
                (0..=text.len()).any(|from| by_definition(rest, &text[from..]))
            }
            (['?', rest @ ..], [_any, text @ ..]) => by_definition(rest, text),
            ([wanted, rest @ ..], [found, text @ ..]) => {
                wanted == found && by_definition(rest, text)
            }
            (_, []) => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn every_pattern_matches_what_its_wildcards_mean(
            pattern in "[ab字*?]{0,9}", text in "[ab字]{0,9}",
        ) {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = by_definition(&chars(&pattern), &chars(&text));
            prop_assert_eq!(does_match(&pattern, &text), expected);
            let upper = pattern.to_ascii_uppercase();
            let steps = Steps::default();
            let folded = Pattern::new(&upper).matches(&text, Case::Insensitive, &steps);
            prop_assert_eq!(folded, expected);
        }

        #[test]
        fn no_text_takes_more_steps_than_estimated(
            pattern in "[ab?*]{1,40}", text in "[ab字]{0,200}",
        ) {
            let pattern = Pattern::new(&pattern);
            for case in [Case::Sensitive, Case::Insensitive] {
                let steps = Steps::default();
                pattern.matches(&text, case, &steps);
                let taken = MAX_STEPS - steps.left();
                // A few steps for each searched segment, and one beyond each end.
                prop_assert!(taken <= pattern.worst_steps(text.len().max(1), case) + 60, "{taken}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn the_extent_over_a_prefix_agrees_with_the_matches_of_its_texts(
            pattern in "[ab*?]{0,7}", prefix in "[ab]{0,4}", rest in "[ab]{0,4}",
        ) {
            let extent = Pattern::new(&pattern).extent(&prefix, &Steps::default());
            let matches = does_match(&pattern, &format!("{prefix}{rest}"));
            prop_assert!(extent != Extent::All || matches);
            prop_assert!(extent != Extent::None || !matches);
        }
    }

    #[test]
    fn the_extent_over_a_prefix_is_all_some_or_none_of_its_texts() {
        for (pattern, prefix, extent) in [
            ("*", "acs:key/", Extent::All),
            ("acs:key/*", "acs:key/", Extent::All),
            ("acs:key/*", "acs:key/a", Extent::All),
            ("acs:key/a*", "acs:key/", Extent::Some),
            ("acs:key/a", "acs:key/", Extent::Some),
            ("acs:key/a", "acs:key/b", Extent::None),
            ("acs:*:key/*", "acs:x:key/", Extent::All),
            ("acs:*:key/*-a*", "acs:x:key/", Extent::Some),
            ("acs:*:key/*a", "acs:x:key/", Extent::Some),
            ("acs:*:key/???*", "acs:x:key/", Extent::Some),
            ("acs:*:key/???*", "acs:x:key/abc", Extent::All),
            ("acs:?:alias/*", "acs:x:key/", Extent::None),
            // The first `*` could match the whole prefix, but no key id contains what follows.
            ("acs:*:alias/*", "acs:x:key/", Extent::None),
            ("acs:alias/a", "acs:", Extent::None),
            ("acs:*9", "acs:x:key/", Extent::Some),
        ] {
            assert_eq!(
                Pattern::new(pattern).extent(prefix, &Steps::default()),
                extent,
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_pattern_costs_at_most_the_steps_of_one_decision() {
        let text = "a".repeat(8192);
        for (pattern, is_linear) in [
            (format!("*{}b", "a".repeat(1000)), true),
            (format!("*{}b*", "a".repeat(1000)), true),
            ("*a".repeat(400) + "b", true),
            (format!("*{}b*", "a?".repeat(500)), false),
        ] {
            let steps = Steps::default();
            assert!(!Pattern::new(&pattern).matches(&text, Case::Sensitive, &steps));
            assert_eq!(steps.is_exhausted(), !is_linear, "{}", &pattern[..9]);
            let taken = MAX_STEPS - steps.left();
            assert!(!is_linear || taken < 10_000, "{taken}");
        }
    }

    #[test]
    fn a_pattern_is_classified_by_its_cost() {
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
            assert_eq!(does_match(pattern, text), matches, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn case_is_ignored_only_on_request() {
        for pattern in ["KMS:Encrypt", "kms:ENC*", "kms:?ncrYpt"] {
            let pattern = Pattern::new(pattern);
            let matches = |case| pattern.matches("kms:Encrypt", case, &Steps::default());
            assert!(matches(Case::Insensitive), "{pattern:?}");
            assert!(!matches(Case::Sensitive), "{pattern:?}");
        }
    }
}
