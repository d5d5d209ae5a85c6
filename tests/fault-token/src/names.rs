//! Numbers of PKCS#11 by their names.

use cryptoki_sys::CK_ULONG;

/// Names with their numbers.
pub(crate) type Names = &'static [(&'static str, CK_ULONG)];

/// A table of names.
macro_rules! names {
    ($table:ident: $($name:ident)*) => {
        pub(crate) const $table: crate::names::Names =
            &[$((stringify!($name), ::cryptoki_sys::$name)),*];
    };
}
pub(crate) use names;

/// The number with this name.
pub(crate) fn number(names: Names, name: &str) -> CK_ULONG {
    let known = names.iter().find(|(known, _number)| *known == name);
    known.unwrap_or_else(|| panic!("{name} is not known")).1
}

/// The name of this number.
pub(crate) fn name(names: Names, number: CK_ULONG) -> String {
    let known = names.iter().find(|(_name, known)| *known == number);
    known.map_or_else(|| format!("{number:#x}"), |(name, _number)| (*name).to_owned())
}
