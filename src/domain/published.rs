//! How far a process has published a log that several processes write: what to publish next, so
//! that its readers see everything, once, in order.

/// Most sequence numbers of other processes that are published at once. Whoever is further behind,
/// for instance because it was stopped, ends its streams instead: their readers resume from the log,
/// each at its own pace.
pub const BEHIND_MAX: i64 = 4096;

/// Up to where a process has published the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    upto: i64,
}

/// What to do before anything after a position may be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: everything up to there is published.
    Direct,
    /// Publish from the log what lies after the one and up to the other sequence number.
    Fill {
        /// Published already.
        after: i64,
        /// To be published as well.
        upto: i64,
    },
    /// End all streams: too much was missed, or the log was set back.
    Reset,
}

impl Published {
    /// Everything up to `head` counts as published: nobody listens yet.
    #[must_use]
    pub fn upto(head: i64) -> Self {
        Published { upto: head }
    }

    /// What to do now that the log stands at `head`. A process that commits asks with the head its
    /// transaction found: nobody can write between that and its own items.
    #[must_use]
    pub fn step(self, head: i64) -> Step {
        match head.checked_sub(self.upto) {
            Some(0) => Step::Direct,
            Some(behind) if (1..=BEHIND_MAX).contains(&behind) => {
                Step::Fill { after: self.upto, upto: head }
            }
            Some(_) | None => Step::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_items_go_out_at_once_when_nobody_wrote_in_between() {
        assert_eq!(Published::upto(7).step(7), Step::Direct);
        assert_eq!(Published::upto(0).step(0), Step::Direct);
    }

    #[test]
    fn what_others_wrote_is_filled_in_first() {
        assert_eq!(Published::upto(7).step(9), Step::Fill { after: 7, upto: 9 });
        let far = 7 + BEHIND_MAX;
        assert_eq!(Published::upto(7).step(far), Step::Fill { after: 7, upto: far });
    }

    #[test]
    fn too_far_behind_or_set_back_ends_the_streams() {
        assert_eq!(Published::upto(7).step(8 + BEHIND_MAX), Step::Reset);
        assert_eq!(Published::upto(7).step(6), Step::Reset);
        assert_eq!(Published::upto(i64::MIN).step(i64::MAX), Step::Reset);
    }

    /// Two processes write in turn, in any order; each publishes its own items directly and others'
    /// from the log. Whatever the order, a reader sees 1, 2, 3, …
    #[test]
    fn any_order_of_two_writers_is_published_whole_and_in_order() {
        for pattern in 0_u32..256 {
            let mut head = 0;
            let mut published = [Published::upto(0); 2];
            let mut seen: [Vec<i64>; 2] = [Vec::new(), Vec::new()];
            for turn in 0..8 {
                let writer = usize::from(pattern & (1 << turn) != 0);
                match published[writer].step(head) {
                    Step::Direct => {}
                    Step::Fill { after, upto } => seen[writer].extend(after + 1..=upto),
                    Step::Reset => panic!("never so far behind"),
                }
                let after = head + i64::from(turn % 3);
                seen[writer].extend(head + 1..=after);
                head = after;
                published[writer] = Published::upto(head);
            }
            for (reader, seen) in seen.iter_mut().enumerate() {
                if let Step::Fill { after, upto } = published[reader].step(head) {
                    seen.extend(after + 1..=upto);
                }
                assert!(seen.iter().copied().eq(1..=head), "{pattern:b}: {seen:?}");
            }
        }
    }
}
