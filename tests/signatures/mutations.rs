//! Changes that an attacker on the network can make to a signed request, the same in every run.

/// Chooses the changes.
pub(crate) struct Prng(fault_token::Prng);

impl Prng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fault_token::Prng::new(seed))
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.below(end)
    }

    /// Changes, drops, adds or doubles one character of a text that is not empty.
    pub(crate) fn change_text(&mut self, text: &mut String) {
        const CHARACTERS: &[u8] = b"abcXYZ019+%&=/.-_~*;:, {}\"";
        let at = self.below(text.len());
        let new = char::from(CHARACTERS[self.below(CHARACTERS.len())]);
        match self.below(4) {
            0 => {
                text.remove(at);
            }
            1 => text.insert(at, new),
            2 => {
                let old = text.remove(at);
                text.insert(at, old);
                text.insert(at, old);
            }
            _ => {
                text.remove(at);
                text.insert(at, new);
            }
        }
    }

    /// Drops, doubles, moves or exchanges the pieces of a text between separators.
    pub(crate) fn change_pieces(&mut self, text: &mut String, separator: &str) {
        let mut pieces: Vec<String> = text.split(separator).map(ToOwned::to_owned).collect();
        let (one, other) = (self.below(pieces.len()), self.below(pieces.len()));
        match self.below(4) {
            0 => {
                pieces.remove(one);
            }
            1 => pieces.insert(other, pieces[one].clone()),
            2 => {
                // The value of one under the name of the other.
                let value = pieces[other].split_once('=').map(|(_, value)| value.to_owned());
                let name = pieces[one].split('=').next().unwrap().to_owned();
                pieces[one] = format!("{name}={}", value.unwrap_or_default());
            }
            _ => pieces.swap(one, other),
        }
        *text = pieces.join(separator);
    }
}

/// The same bytes with each one of their bits flipped.
pub(crate) fn with_every_bit_flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut other = bytes.to_vec();
        other[bit / 8] ^= 1 << (bit % 8);
        other
    })
}
