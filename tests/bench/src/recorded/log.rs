//! Reads statements with their parameters from the log of a server that logs all (`log_min_duration_statement = 0`).

use std::collections::HashMap;

/// A statement that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Executed {
    pub(crate) sql: String,
    /// The values as text, in order; none is NULL.
    pub(crate) parameters: Vec<Option<String>>,
}

/// The statements of the transaction, or the single statement, in which `text` was a parameter's value for the first time.
pub(crate) fn transaction_with(log: &str, text: &str) -> Vec<Executed> {
    let executed = executed(log);
    let has = |statement: &Executed| statement.parameters.iter().flatten().any(|value| value.contains(text));
    let Some((process, _)) = executed.iter().find(|(_, statement)| has(statement)) else { return Vec::new() };
    let of_process: Vec<&Executed> =
        executed.iter().filter(|(other, _)| other == process).map(|(_, statement)| statement).collect();
    let Some(at) = of_process.iter().position(|statement| has(statement)) else { return Vec::new() };
    let starts = |statement: &&&Executed| is(statement, "BEGIN");
    let ends = |statement: &&&Executed| is(statement, "COMMIT") || is(statement, "ROLLBACK");
    let before = &of_process[..at];
    let begin = before.iter().rposition(|statement| starts(&statement));
    let last_end = before.iter().rposition(|statement| ends(&statement));
    let first = match (begin, last_end) {
        (Some(begin), Some(end)) if end > begin => at,
        (Some(begin), _) => begin,
        (None, _) => at,
    };
    let last = if first < at {
        of_process[at..].iter().position(|statement| ends(&statement)).map_or(at, |more| at + more)
    } else {
        at
    };
    of_process[first..=last].iter().map(|statement| (*statement).clone()).collect()
}

/// Whether one of the commands of a text is this one: several can be sent at once.
fn is(statement: &Executed, word: &str) -> bool {
    statement.sql.split(';').any(|command| command.trim_start().to_ascii_uppercase().starts_with(word))
}

/// All statements with the process that executed each.
fn executed(log: &str) -> Vec<(String, Executed)> {
    let mut found: Vec<(String, Executed)> = Vec::new();
    // The statement of each process to which a list of parameters would belong now: parse and bind are logged with lists, too.
    let mut current: HashMap<String, usize> = HashMap::new();
    for (process, entry) in entries(log) {
        if let Some(sql) = statement(&entry) {
            current.insert(process.clone(), found.len());
            found.push((process, Executed { sql: sql.to_owned(), parameters: Vec::new() }));
        } else if let Some(list) = parameter_list(&entry) {
            if let Some((_, statement)) = current.remove(&process).and_then(|at| found.get_mut(at)) {
                statement.parameters = parameters(list);
            }
        } else {
            current.remove(&process);
        }
    }
    found
}

/// The entries of a log whose lines begin with `PID|`; further lines of an entry begin with a tab.
fn entries(log: &str) -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = Vec::new();
    for line in log.lines() {
        if let Some(more) = line.strip_prefix('\t') {
            if let Some((_, entry)) = entries.last_mut() {
                entry.push('\n');
                entry.push_str(more);
            }
        } else if let Some((process, entry)) = line.split_once('|')
            && process.bytes().all(|byte| byte.is_ascii_digit())
        {
            entries.push((process.to_owned(), entry.to_owned()));
        }
    }
    entries
}

/// The SQL of `LOG:  duration: 0.05 ms  execute NAME: SQL` or `LOG:  duration: 0.05 ms  statement: SQL`.
fn statement(entry: &str) -> Option<&str> {
    let (_, rest) = entry.strip_prefix("LOG:  duration: ")?.split_once(" ms  ")?;
    rest.strip_prefix("statement: ").or_else(|| Some(rest.strip_prefix("execute ")?.split_once(": ")?.1))
}

fn parameter_list(entry: &str) -> Option<&str> {
    let (_, list) = entry.strip_prefix("DETAIL:  ")?.split_once("arameters: ")?;
    Some(list)
}

/// The values of `$1 = 'it''s', $2 = NULL`.
fn parameters(list: &str) -> Vec<Option<String>> {
    let mut values = Vec::new();
    let mut rest = list;
    while let Some((_, value)) = rest.split_once(" = ") {
        let Some(quoted) = value.strip_prefix('\'') else {
            values.push(None);
            rest = value;
            continue;
        };
        let (mut text, mut end) = (String::new(), quoted.len());
        let mut letters = quoted.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            if letter != '\'' {
                text.push(letter);
            } else if letters.next_if(|(_, next)| *next == '\'').is_some() {
                text.push('\'');
            } else {
                end = at + 1;
                break;
            }
        }
        values.push(Some(text));
        rest = &quoted[end..];
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "7|LOG:  duration: 0.010 ms  statement: BEGIN READ ONLY\n\
        7|LOG:  duration: 0.010 ms  statement: COMMIT\n\
        8|LOG:  duration: 0.010 ms  execute sqlx_s_9: SELECT 1\n\
        7|LOG:  duration: 0.010 ms  statement: BEGIN\n\
        7|LOG:  duration: 0.020 ms  parse sqlx_s_1: INSERT INTO t VALUES ($1, $2,\n\
        \t $3)\n\
        7|LOG:  duration: 0.030 ms  bind sqlx_s_1: INSERT INTO t VALUES ($1, $2,\n\
        \t $3)\n\
        7|DETAIL:  parameters: $1 = 'key-1', $2 = NULL, $3 = 'it''s = ''so'', $4 = ''x'''\n\
        7|LOG:  duration: 0.040 ms  execute sqlx_s_1: INSERT INTO t VALUES ($1, $2,\n\
        \t $3)\n\
        7|DETAIL:  parameters: $1 = 'key-1', $2 = NULL, $3 = 'it''s = ''so'', $4 = ''x'''\n\
        8|LOG:  duration: 0.010 ms  execute sqlx_s_9: SELECT 1\n\
        7|LOG:  duration: 1.000 ms  statement: SELECT 1; COMMIT\n\
        7|LOG:  duration: 0.010 ms  statement: SELECT 2\n";

    #[test]
    fn a_transaction_is_what_its_own_process_ran_from_begin_to_commit() {
        let statements = transaction_with(LOG, "key-1");
        let sql: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
        assert_eq!(sql, ["BEGIN", "INSERT INTO t VALUES ($1, $2,\n $3)", "SELECT 1; COMMIT"]);
        assert_eq!(statements[0].parameters, []);
        let text = |value: &str| Some(value.to_owned());
        assert_eq!(statements[1].parameters, [text("key-1"), None, text("it's = 'so', $4 = 'x'")]);
    }

    #[test]
    fn a_statement_outside_of_a_transaction_is_one_alone() {
        let log = LOG.replace("statement: BEGIN\n", "statement: SELECT 0\n");
        let statements = transaction_with(&log, "key-1");
        assert_eq!(statements.len(), 1);
        assert_eq!(transaction_with(LOG, "no such text"), []);
    }
}
