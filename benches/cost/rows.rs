//! What is measured: calls, each with its contenders, whose bursts are sent in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::calls::{Case, Operation, Protocol};
use crate::contenders::{Contender, Contenders, Token};
use crate::load::Window;
use crate::verification::Verification;

const KIB: usize = 1024;
/// How often each of many keys is used in a burst.
const USES_IN_A_BURST: usize = 4;

/// A call. The first three are measured at each number of connections, the others at the greatest, or at the
/// greatest that they bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Row {
    Encrypt,
    Decrypt,
    GenerateDataKey,
    /// Encrypt, signed as RPC 1.0
    Rpc1,
    /// Encrypt in the protocol of KMS instances
    Instance,
    /// Encrypt of 1 KiB
    #[value(name = "1-kib")]
    OneKib,
    /// Encrypt of 6 KiB
    #[value(name = "6-kib")]
    SixKib,
    /// Encrypt with a token that takes 0.5 ms longer
    DelayedToken,
    /// Encrypt with each of many keys in turn, beside one key
    ManyKeys,
}

impl Row {
    pub(crate) const ALL: [Self; 9] = [
        Self::Encrypt,
        Self::Decrypt,
        Self::GenerateDataKey,
        Self::Rpc1,
        Self::Instance,
        Self::OneKib,
        Self::SixKib,
        Self::DelayedToken,
        Self::ManyKeys,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Encrypt | Self::Decrypt | Self::GenerateDataKey => self.case().operation.name(),
            Self::Rpc1 => "Encrypt, RPC 1.0",
            Self::Instance => "Encrypt, instance protocol",
            Self::OneKib => "Encrypt, 1 KiB",
            Self::SixKib => "Encrypt, 6 KiB",
            Self::DelayedToken => "Encrypt, 0.5 ms in the token",
            Self::ManyKeys => "Encrypt, each of many keys",
        }
    }

    fn case(self) -> Case {
        let encrypt = Case::of(Operation::Encrypt);
        match self {
            Self::Encrypt | Self::DelayedToken | Self::ManyKeys => encrypt,
            Self::Decrypt => Case::of(Operation::Decrypt),
            Self::GenerateDataKey => Case::of(Operation::GenerateDataKey),
            Self::Rpc1 => Case { protocol: Protocol::Rpc1, ..encrypt },
            Self::Instance => Case { protocol: Protocol::Instance, ..encrypt },
            Self::OneKib => Case { bytes: KIB, ..encrypt },
            Self::SixKib => Case { bytes: 6 * KIB, ..encrypt },
        }
    }

    pub(crate) fn token(self) -> Token {
        if self == Self::DelayedToken { Token::Delayed } else { Token::SoftHsm }
    }

    fn is_basic(self) -> bool {
        matches!(self, Self::Encrypt | Self::Decrypt | Self::GenerateDataKey)
    }

    /// The numbers of connections, of those that are wanted.
    pub(crate) fn connections(self, wanted: &[usize]) -> Vec<usize> {
        if self.is_basic() {
            wanted.to_owned()
        } else {
            let greatest = wanted.iter().copied().max().into_iter();
            greatest.map(|connections| connections.min(self.most_connections())).collect()
        }
    }

    /// While the gateway still has one thread for a slow token, more calls would wait longer than it allows.
    fn most_connections(self) -> usize {
        if self == Self::DelayedToken { 16 } else { usize::MAX }
    }

    /// A durable audit is measured at the greatest number of connections alone: with few of them, a call
    /// takes as long as a sync.
    fn contenders(self, connections: usize, wanted: &[usize]) -> Vec<Contender> {
        if self == Self::ManyKeys {
            return vec![Contender::Gateway, Contender::ManyKeys];
        }
        let is_greatest = wanted.iter().all(|other| *other <= connections);
        let mut contenders = vec![Contender::Gateway, Contender::Minimal];
        if self.token() == Token::SoftHsm {
            contenders.push(Contender::Again);
        }
        if self.is_basic() && is_greatest {
            contenders.push(Contender::Durable);
        }
        contenders
    }
}

/// The bursts of a row at one number of connections.
pub(crate) struct Bursts {
    pub(crate) row: Row,
    pub(crate) connections: usize,
    /// A burst to each contender in each round.
    pub(crate) windows: BTreeMap<Contender, Vec<Window>>,
    /// The time of an RSA verification in each round, if the calls need one.
    pub(crate) verifications: Vec<Duration>,
    /// Calls of the gateway with the durable audit, for each sync.
    pub(crate) calls_a_sync: Option<f64>,
}

/// How much is measured.
pub(crate) struct Extent<'a> {
    pub(crate) rounds: usize,
    /// Of a burst.
    pub(crate) calls: usize,
    /// All that are wanted.
    pub(crate) connections: &'a [usize],
    /// Of the gateway with many keys.
    pub(crate) keys: usize,
}

impl Extent<'_> {
    /// The rounds of a row, and the calls of a burst.
    fn of(&self, row: Row, connections: usize) -> (usize, usize) {
        if row == Row::ManyKeys {
            // A key whose session copy was not used for 5 s is checked first, so bursts are long enough
            // that other calls follow.
            (self.rounds.div_ceil(3), self.calls.max(USES_IN_A_BURST * self.keys))
        } else if connections == 1 {
            // Bursts over one connection would take several times as long as the others.
            (self.rounds, self.calls.div_ceil(4))
        } else {
            (self.rounds, self.calls)
        }
    }
}

impl Bursts {
    /// Sends bursts to all contenders in each round, after one that is not counted.
    pub(crate) fn measure(
        contenders: &Contenders,
        row: Row,
        connections: usize,
        extent: &Extent<'_>,
    ) -> anyhow::Result<Self> {
        let order = row.contenders(connections, extent.connections);
        let (rounds, calls) = extent.of(row, connections);
        let burst =
            |contender| contenders.burst(contender, row.token(), row.case(), calls, connections);
        order.iter().try_for_each(|contender| burst(*contender).map(drop))?;
        let syncs = contenders.slow_syncs();
        let verification =
            (row.case().protocol == Protocol::Instance).then(Verification::new).transpose()?;
        let (mut windows, mut verifications) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        for round in 0..rounds {
            for contender in in_turn(&order, round) {
                windows.entry(contender).or_default().push(burst(contender)?);
            }
            if let Some(verification) = &verification {
                verifications.push(verification.measure()?);
            }
        }
        let syncs = contenders.slow_syncs().saturating_sub(syncs);
        let durable = windows.get(&Contender::Durable);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let calls_a_sync = durable.map(|bursts| (bursts.len() * calls) as f64 / syncs as f64);
        Ok(Self { row, connections, windows, verifications, calls_a_sync })
    }
}

/// The order of a round. A round runs forward, the next one backward, and the one after it begins with another
/// contender, so that none always runs behind the same neighbor.
fn in_turn(order: &[Contender], round: usize) -> Vec<Contender> {
    let first = round / 2 % order.len().max(1);
    let mut turn: Vec<_> = order.iter().copied().cycle().skip(first).take(order.len()).collect();
    if round % 2 == 1 {
        turn.reverse();
    }
    turn
}
