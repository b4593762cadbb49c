//! What was probably meant by a name that does not exist.

/// The one of `known` that is nearest to `name`: at most a third of its letters are different, missing or swapped.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The same of a setting, where a part of the name means the whole: `deadline` means `deadline_ms`.
pub(super) fn nearest_setting<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let begins = known.iter().copied().filter(|candidate| candidate.starts_with(name));
    nearest(name, known.iter().copied()).or_else(|| begins.min_by_key(|candidate| candidate.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_name_and_another_word_none() {
        let sections = ["http", "database", "kafka", "registry", "order"];
        for (name, meant) in [
            ("databse", Some("database")),
            ("htpp", Some("http")),
            ("kafak", Some("kafka")),
            ("regsitry", Some("registry")),
            ("payment", None),
            ("inventory", None),
            ("loyalty", None),
        ] {
            assert_eq!(nearest(name, sections.into_iter()), meant, "{name}");
        }
    }

    #[test]
    fn the_beginning_of_a_setting_means_the_shortest_that_begins_so() {
        let known = ["deadline_grace_ms", "deadline_ms", "max_waiters"];
        for (name, meant) in
            [("deadline", Some("deadline_ms")), ("max_waitres", Some("max_waiters")), ("colour", None)]
        {
            assert_eq!(nearest_setting(name, &known), meant, "{name}");
        }
    }
}
