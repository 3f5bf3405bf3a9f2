//! What a failed statement of a store means: what is wrong, whether it mends itself, what to do.

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No room: on the disk, in a quota, or up to the database's own limit.
    Full,
    /// The file may be read, but not written.
    ReadOnly,
    /// Another process writes, and did not end in time.
    Locked,
    /// What is in the file contradicts itself.
    Damaged,
    /// The file is not a database, or its first page is gone.
    Foreign,
    /// The disk refused to read, to write, or to make a write durable.
    Disk,
    /// The file, or one of its companions, cannot be opened.
    Unopenable,
    /// Something else.
    Other,
}

impl Fault {
    /// Every fault, for tests and tables.
    pub const ALL: [Fault; 8] = [
        Fault::Full,
        Fault::ReadOnly,
        Fault::Locked,
        Fault::Damaged,
        Fault::Foreign,
        Fault::Disk,
        Fault::Unopenable,
        Fault::Other,
    ];

    /// The fault behind a message of SQLite (the texts of `sqlite3_errstr`; our driver hands on no
    /// codes) or of the system.
    #[must_use]
    pub fn of(message: &str) -> Self {
        const TEXTS: [(&str, Fault); 12] = [
            ("database or disk is full", Fault::Full),
            ("attempt to write a readonly database", Fault::ReadOnly),
            ("database is locked", Fault::Locked),
            ("database table is locked", Fault::Locked),
            ("database disk image is malformed", Fault::Damaged),
            ("malformed database schema", Fault::Damaged),
            ("file is not a database", Fault::Foreign),
            ("disk I/O error", Fault::Disk),
            ("unable to open database file", Fault::Unopenable),
            // The system's own texts, where a file was touched without SQLite.
            ("No space left on device", Fault::Full),
            ("Read-only file system", Fault::ReadOnly),
            ("Permission denied", Fault::ReadOnly),
        ];
        let known = TEXTS.iter().find(|(text, _)| message.contains(text));
        known.map_or(Fault::Other, |(_, fault)| *fault)
    }

    /// One sentence: what is wrong, and what to do about it.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Fault::Full => "the store is full: free disk space, and it goes on by itself",
            Fault::ReadOnly => {
                "the store cannot be written: give the file and its folder back to Cortex's user, \
                 and it goes on by itself"
            }
            Fault::Locked => {
                "another process holds the store's write lock; it goes on by itself once that one \
                 lets go"
            }
            Fault::Damaged => {
                "the store is damaged: stop its processes, run `cortex check`, then `cortex \
                 restore` with the last backup"
            }
            Fault::Foreign => {
                "the store's file is not a database: it was overwritten or damaged; run `cortex \
                 check`, then `cortex restore` with the last backup"
            }
            Fault::Disk => {
                "the disk failed to read or to write the store: look at the system's log; it goes \
                 on by itself once the disk does"
            }
            Fault::Unopenable => {
                "the store's file cannot be opened: look at its folder, permissions and the limit \
                 of open files; it goes on by itself"
            }
            Fault::Other => "the store failed; the log has the cause",
        }
    }

    /// Whether it may pass without a person: then it makes sense to try again.
    #[must_use]
    pub fn may_pass(self) -> bool {
        !matches!(self, Fault::Damaged | Fault::Foreign)
    }

    /// Whether every write of a group fails alike, so that trying each alone is in vain.
    #[must_use]
    pub fn concerns_all(self) -> bool {
        !matches!(self, Fault::Full | Fault::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lead_to_their_fault_also_inside_longer_ones() {
        for (message, fault) in [
            ("database or disk is full", Fault::Full),
            ("/data/memory.db: database is locked", Fault::Locked),
            ("malformed database schema (memory_items)", Fault::Damaged),
            ("database disk image is malformed", Fault::Damaged),
            ("file is not a database", Fault::Foreign),
            ("disk I/O error", Fault::Disk),
            ("no such table: x", Fault::Other),
        ] {
            assert_eq!(Fault::of(message), fault, "{message}");
        }
    }

    #[test]
    fn every_fault_says_what_to_do_and_damage_does_not_pass() {
        for fault in Fault::ALL {
            assert!(fault.sentence().len() > 20);
            let mends_itself = fault.sentence().contains("goes on by itself");
            assert!(fault == Fault::Other || mends_itself == fault.may_pass(), "{fault:?}");
        }
    }
}
