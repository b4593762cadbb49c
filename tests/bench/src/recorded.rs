//! The statements of one request, recorded off the server's log, as a script for pgbench.
//!
//! Two requests are recorded. A parameter that is the same in both is a constant of the script; ids and keys that differ
//! are counted up. All are sent as parameters of prepared statements, as the service sends them.

use anyhow::{Context as _, bail};

use self::log::Executed;

pub(crate) mod log;
mod parameters;

/// A script with the values of its variables.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) text: String,
    pub(crate) variables: Vec<(String, String)>,
    /// How many statements it has, BEGIN and COMMIT included.
    pub(crate) statements: usize,
}

/// A request that was recorded, and the texts in it that no other request has.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) statements: Vec<Executed>,
    pub(crate) key: String,
    pub(crate) customer: String,
}

/// What begins each transaction of the script: a number that is each client's own.
const COUNTER: &str = "\\set n :n + 1\n\\set id :n * 1024 + :client_id\n";

/// The script of the first request; `types` are those of each statement's parameters.
///
/// # Errors
/// When the two requests ran different statements.
pub(crate) fn script(first: &Recording, second: &Recording, types: &[Vec<String>]) -> anyhow::Result<Script> {
    let sql = |recording: &Recording| -> Vec<String> {
        recording.statements.iter().map(|statement| statement.sql.clone()).collect()
    };
    if sql(first) != sql(second) {
        bail!("two requests of one kind ran different statements: {:#?} and {:#?}", sql(first), sql(second));
    }
    let varying = parameters::Varying::new(first, second);
    let mut script =
        Script { text: COUNTER.to_owned(), variables: Vec::new(), statements: first.statements.len() };
    let mut has_ids = false;
    for (number, statement) in first.statements.iter().enumerate() {
        let types = types.get(number).context("no types of a statement's parameters")?;
        let mut expressions = Vec::new();
        for (at, value) in statement.parameters.iter().enumerate() {
            let kind =
                types.get(at).with_context(|| format!("no type of ${} in {}", at + 1, statement.sql))?;
            let other = second.statements[number].parameters.get(at).cloned().flatten();
            let same = *value == other;
            let parameter = parameters::Parameter { name: format!("s{number}p{at}"), kind, value, same };
            expressions.push(parameter.expression(&varying, has_ids, &mut script.variables));
        }
        if expressions.is_empty() && statement.sql.trim_end_matches(';').contains(';') {
            script.text.push_str(&at_once(&statement.sql));
            continue;
        }
        script.text.push_str(&substitute(&statement.sql, &expressions)?);
        // The ids that later statements name are drawn by one of their own.
        let draws_ids =
            statement.sql.contains("nextval(") && statement.sql.trim_start().starts_with("SELECT");
        has_ids |= draws_ids;
        script.text.push_str(if draws_ids { " \\gset\n" } else { ";\n" });
    }
    Ok(script)
}

/// Commands that were sent as one text, which can't be prepared as one: in one round trip as well.
fn at_once(sql: &str) -> String {
    let commands = sql.split(';').map(str::trim).filter(|command| !command.is_empty());
    let commands: String = commands.map(|command| format!("{command};\n")).collect();
    format!("\\startpipeline\n{commands}\\endpipeline\n")
}

/// Puts an expression in the place of each `$n`.
fn substitute(sql: &str, expressions: &[String]) -> anyhow::Result<String> {
    let mut pieces = sql.split('$');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let number: usize =
            piece[..digits].parse().with_context(|| format!("a $ without a number in {sql}"))?;
        let expression = number.checked_sub(1).and_then(|at| expressions.get(at));
        text.push_str(expression.with_context(|| format!("no value of ${number} in {sql}"))?);
        text.push_str(&piece[digits..]);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [&str; 2] = ["018f0000-0000-7000-8000-00000000000a", "018f0000-0000-7000-8000-00000000000b"];

    fn recording(number: usize) -> Recording {
        let key = format!("bench-{number}");
        let (id, drawn) = (ID[number], format!("{{{}}}", 40 + number));
        let statement = |sql: &str, parameters: &[&str]| Executed {
            sql: sql.to_owned(),
            parameters: parameters.iter().map(|value| Some((*value).to_owned())).collect(),
        };
        let statements = vec![
            statement("BEGIN", &[]),
            statement("INSERT INTO keys VALUES ($1, $2, $3)", &[&key, id, r#"{"a":1}"#]),
            statement("SELECT nextval('ids') FROM generate_series(1, $1)", &["1"]),
            statement("INSERT INTO m SELECT unnest($1::bigint[])", &[&drawn]),
            statement("COMMIT", &[]),
        ];
        Recording { statements, key, customer: format!("customer-{number}") }
    }

    fn types() -> Vec<Vec<String>> {
        [&[][..], &["text", "uuid", "jsonb"], &["bigint"], &["bigint[]"], &[]]
            .map(|types| types.iter().map(|kind| (*kind).to_owned()).collect())
            .to_vec()
    }

    #[test]
    fn constants_are_sent_as_they_were_and_ids_are_counted_up() {
        let script = script(&recording(0), &recording(1), &types()).unwrap();
        let lines: Vec<&str> = script.text.lines().collect();
        assert_eq!(lines[2], "BEGIN;");
        assert!(lines[3].contains("CAST(:s1p2 AS jsonb)"), "{}", lines[3]);
        assert!(lines[3].matches("to_hex(:id::bigint)").count() == 1, "{}", lines[3]);
        assert!(lines[4].ends_with(" \\gset") && lines[4].contains("CAST(:s2p0 AS bigint)"), "{}", lines[4]);
        assert!(lines[5].contains("CAST('{' || :nextval::text || '}' AS bigint[])"), "{}", lines[5]);
        assert_eq!((lines[6], script.statements), ("COMMIT;", 5));
        assert!(script.variables.contains(&("s1p2".to_owned(), r#"{"a":1}"#.to_owned())));
        // A piece of text in the script itself could hold a colon, which begins a variable.
        assert!(!script.text.contains("018f0000") && !script.text.contains("bench-"), "{}", script.text);
    }

    #[test]
    fn two_requests_with_different_statements_are_refused() {
        let mut other = recording(1);
        other.statements.remove(2);
        assert!(script(&recording(0), &other, &types()).is_err());
    }

    #[test]
    fn commands_of_one_text_go_in_one_round_trip() {
        let mut both = [recording(0), recording(1)];
        for recording in &mut both {
            recording.statements[0].sql = "BEGIN; SET LOCAL lock_timeout = 2000".to_owned();
        }
        let script = script(&both[0], &both[1], &types()).unwrap();
        let expected = "\\startpipeline\nBEGIN;\nSET LOCAL lock_timeout = 2000;\n\\endpipeline\nINSERT";
        assert!(script.text.contains(expected), "{}", script.text);
    }

    #[test]
    fn parameters_of_two_digits_are_told_from_those_of_one() {
        let values: Vec<String> = (1..=11).map(|number| format!("v{number}")).collect();
        assert_eq!(substitute("f($1, $11::text)", &values).unwrap(), "f(v1, v11::text)");
        assert!(substitute("f($12)", &values).is_err());
    }
}
