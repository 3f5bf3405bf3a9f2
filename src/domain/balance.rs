//! Which endpoint of a service takes the next call.

/// What is known of an endpoint at the moment of choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Calls under way to it.
    pub outstanding: u32,
    /// Whether discovery holds it for reachable (unknown counts as reachable).
    pub usable: bool,
    /// Whether this call has tried it already.
    pub tried: bool,
}

/// The order in which to ask endpoints for admission: untried before tried, usable before not, the
/// least busy first, and among equals in turn, starting at `turn`.
///
/// An endpoint held for down is still in the list: if all are down, asking is better than giving up
/// (Envoy calls it panic mode).
#[must_use]
pub fn order(candidates: &[Candidate], turn: usize) -> Vec<usize> {
    let count = candidates.len();
    let mut order: Vec<usize> = (0..count).map(|i| (i + turn % count.max(1)) % count).collect();
    order.sort_by_key(|i| {
        candidates.get(*i).map_or((true, true, u32::MAX), |c| (c.tried, !c.usable, c.outstanding))
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(outstanding: u32, usable: bool, tried: bool) -> Candidate {
        Candidate { outstanding, usable, tried }
    }

    #[test]
    fn least_busy_usable_and_untried_goes_first() {
        let candidates = [
            candidate(0, true, true),
            candidate(5, true, false),
            candidate(1, true, false),
            candidate(0, false, false),
        ];
        assert_eq!(order(&candidates, 0), [2, 1, 3, 0]);
    }

    #[test]
    fn equals_take_turns_and_none_is_no_endpoint() {
        let equal = [candidate(0, true, false); 3];
        assert_eq!(order(&equal, 1), [1, 2, 0]);
        assert_eq!(order(&equal, 5), [2, 0, 1]);
        assert!(order(&[], 7).is_empty());
    }
}
