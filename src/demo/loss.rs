//! What a disaster cost, by the writers' own log of acknowledged commits. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::load::Acknowledged;

/// The comparison of what was acknowledged with what came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub acknowledged: usize,
    /// Acknowledged before the loss, and not in what came back.
    pub lost: usize,
    /// When the first of them was acknowledged.
    pub first_lost_at: Option<Timestamp>,
    /// Came back although its acknowledgement never arrived: allowed, and counted.
    pub unacknowledged: usize,
}

/// Compares. `found` holds client and serial of every write in the recovered database.
pub fn compare(log: &[Acknowledged], found: &BTreeSet<(u32, u64)>) -> Loss {
    let lost: Vec<&Acknowledged> =
        log.iter().filter(|ack| !found.contains(&(ack.client, ack.serial))).collect();
    let known: BTreeSet<(u32, u64)> = log.iter().map(|ack| (ack.client, ack.serial)).collect();
    Loss {
        acknowledged: log.len(),
        lost: lost.len(),
        first_lost_at: lost.iter().map(|ack| ack.at).min(),
        unacknowledged: found.difference(&known).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_what_was_acknowledged_and_is_not_there() {
        let ack = |client, serial, second| Acknowledged {
            client,
            serial,
            at: Timestamp::from_second(second).unwrap(),
        };
        let log = [ack(1, 1, 10), ack(1, 2, 11), ack(2, 1, 12), ack(1, 3, 13)];
        let loss = compare(&log, &BTreeSet::from([(1, 1), (1, 2), (2, 2)]));
        assert_eq!((loss.acknowledged, loss.lost, loss.unacknowledged), (4, 2, 1));
        assert_eq!(loss.first_lost_at, Some(Timestamp::from_second(12).unwrap()));
    }
}
