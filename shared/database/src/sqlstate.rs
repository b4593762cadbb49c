//! What an error of the database means: one table of SQLSTATEs, exhaustive by class, for consumers and requests.
//!
//! Source: PostgreSQL's documentation, appendix A, error codes.

/// Whose fault a refusal is, and so what is done about it (docs/adr/0016).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Connection, resources, locks, shutdown. It passes, so the batch is tried again without end.
    Transient,
    /// An operator's to fix: rights, schema, settings. Tried again without end, with an alarm.
    Operator,
    /// The data's: some event of the batch brings it.
    Data,
    /// Not in the table: tried a few times, then some event of the batch is taken for its cause.
    Unknown,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Transient, Self::Operator, Self::Data, Self::Unknown];

    /// The label `reason` of retries.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Operator => "operator",
            Self::Data => "data",
            Self::Unknown => "unknown",
        }
    }
}

/// Codes that are decided apart from their class.
const CODES: &[(&str, Verdict)] =
    &[("23505", Verdict::Unknown), ("XX001", Verdict::Transient), ("XX002", Verdict::Transient)];

const CLASSES: &[(&str, Verdict)] = &[
    ("00", Verdict::Unknown),   // successful completion
    ("01", Verdict::Unknown),   // warning
    ("02", Verdict::Unknown),   // no data
    ("03", Verdict::Unknown),   // SQL statement not yet complete
    ("08", Verdict::Transient), // connection exception
    ("09", Verdict::Unknown),   // triggered action exception
    ("0A", Verdict::Operator),  // feature not supported
    ("0B", Verdict::Unknown),   // invalid transaction initiation
    ("0F", Verdict::Unknown),   // locator exception
    ("0L", Verdict::Operator),  // invalid grantor
    ("0P", Verdict::Operator),  // invalid role specification
    ("0Z", Verdict::Unknown),   // diagnostics exception
    ("10", Verdict::Unknown),   // XQuery error
    ("20", Verdict::Unknown),   // case not found
    ("21", Verdict::Unknown),   // cardinality violation
    ("22", Verdict::Data),      // data exception
    ("23", Verdict::Data),      // integrity constraint violation
    ("24", Verdict::Unknown),   // invalid cursor state
    ("25", Verdict::Transient), // invalid transaction state: read-only, idle for too long, failed
    ("26", Verdict::Operator),  // invalid SQL statement name: a pooler
    ("27", Verdict::Unknown),   // triggered data change violation
    ("28", Verdict::Operator),  // invalid authorization
    ("2B", Verdict::Operator),  // dependent privilege descriptors still exist
    ("2D", Verdict::Unknown),   // invalid transaction termination
    ("2F", Verdict::Unknown),   // SQL routine exception
    ("34", Verdict::Unknown),   // invalid cursor name
    ("38", Verdict::Unknown),   // external routine exception
    ("39", Verdict::Unknown),   // external routine invocation exception
    ("3B", Verdict::Unknown),   // savepoint exception
    ("3D", Verdict::Operator),  // invalid catalog name
    ("3F", Verdict::Operator),  // invalid schema name
    ("40", Verdict::Transient), // transaction rollback: conflicts, deadlocks
    ("42", Verdict::Operator),  // syntax error or access rule violation: rights, missing tables
    ("44", Verdict::Unknown),   // WITH CHECK OPTION violation
    ("53", Verdict::Transient), // insufficient resources
    ("54", Verdict::Data),      // program limit exceeded: too large for an index, a row
    ("55", Verdict::Transient), // object not in prerequisite state: locks
    ("57", Verdict::Transient), // operator intervention: shutdown, time-out
    ("58", Verdict::Transient), // system error: input and output
    ("72", Verdict::Transient), // snapshot too old
    ("F0", Verdict::Transient), // configuration file error
    ("HV", Verdict::Operator),  // foreign data wrapper error
    ("P0", Verdict::Unknown),   // PL/pgSQL error
    ("XX", Verdict::Unknown),   // internal error
];

/// The verdict on any error of the database.
#[must_use]
pub fn verdict(error: &sqlx::Error) -> Verdict {
    match error {
        sqlx::Error::Database(refusal) => refusal.code().map_or(Verdict::Unknown, |code| of_code(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Verdict::Transient,
        sqlx::Error::Configuration(_) => Verdict::Operator,
        // Rows that can't be read, among others.
        _ => Verdict::Unknown,
    }
}

/// What a statement fails with because of another transaction's locks: serialization failure, deadlock, and a lock that was not
/// to be had in time. Without what needs the lock, the rest of the transaction succeeds.
const LOCKS: [&str; 3] = ["40001", "40P01", "55P03"];

/// Whether another transaction's locks are the cause.
#[must_use]
pub fn is_of_locks(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| LOCKS.contains(&&*code))
}

fn of_code(code: &str) -> Verdict {
    let of = |table: &[(&str, Verdict)], wanted: &str| {
        table.iter().find(|(known, _)| *known == wanted).map(|(_, verdict)| *verdict)
    };
    let class = code.get(..2).unwrap_or_default();
    of(CODES, code).or_else(|| of(CLASSES, class)).unwrap_or(Verdict::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The classes of PostgreSQL 18, appendix A.
    const POSTGRESQL: [&str; 44] = [
        "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23",
        "24", "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44",
        "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX",
    ];

    #[test]
    fn every_class_is_decided_once() {
        let decided: Vec<&str> = CLASSES.iter().map(|(class, _)| *class).collect();
        assert_eq!(decided, POSTGRESQL);
    }

    #[test]
    fn codes_are_decided_by_their_class_or_apart_from_it() {
        for (code, expected) in [
            ("08006", Verdict::Transient),
            ("40001", Verdict::Transient),
            ("40P01", Verdict::Transient),
            ("55P03", Verdict::Transient),
            ("57014", Verdict::Transient),
            ("53100", Verdict::Transient),
            ("25006", Verdict::Transient),
            ("25P03", Verdict::Transient),
            ("XX001", Verdict::Transient),
            ("42501", Verdict::Operator),
            ("42P01", Verdict::Operator),
            ("3D000", Verdict::Operator),
            ("26000", Verdict::Operator),
            ("22P05", Verdict::Data),
            ("22021", Verdict::Data),
            ("23502", Verdict::Data),
            ("23503", Verdict::Data),
            ("23514", Verdict::Data),
            ("54000", Verdict::Data),
            ("23505", Verdict::Unknown),
            ("P0001", Verdict::Unknown),
            ("XX000", Verdict::Unknown),
            ("ZZ999", Verdict::Unknown),
            ("", Verdict::Unknown),
        ] {
            assert_eq!(of_code(code), expected, "{code}");
        }
    }

    #[test]
    fn whatever_cuts_the_way_is_transient() {
        for error in [
            sqlx::Error::PoolTimedOut,
            sqlx::Error::PoolClosed,
            sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
            sqlx::Error::Protocol("cut in the middle".to_owned()),
        ] {
            assert_eq!(verdict(&error), Verdict::Transient, "{error}");
        }
        assert_eq!(verdict(&sqlx::Error::RowNotFound), Verdict::Unknown);
    }
}
