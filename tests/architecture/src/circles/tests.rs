//! The rule on files of its own.

use super::violations;
use crate::sources::Source;

fn found(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files
        .iter()
        .map(|(path, text)| Source { path: format!("shared/x/src/{path}.rs"), text: (*text).to_owned() })
        .collect();
    violations(&sources).unwrap().into_iter().map(|violation| violation.rule).collect()
}

#[test]
fn files_that_import_each_other_are_found_however_the_paths_are_written() {
    for files in [
        vec![("lib", "mod a; mod b;"), ("a", "use crate::b::B;"), ("b", "use super::a::A;")],
        vec![
            ("lib", "mod a; mod b;"),
            ("a", "use crate::{b::{B, C as D}, x};"),
            ("b", "fn f(a: crate::a::A) {}"),
        ],
        vec![("lib", "mod a; mod b;"), ("a", "use crate::b; fn f() { b::g() }"), ("b", "use crate::a::f;")],
        vec![("lib", "mod a; mod b;"), ("a", "use crate::b::*;"), ("b", "use crate::a::*;")],
        vec![
            ("lib", "mod a; mod b;"),
            ("a", "fn f() { tokio::select! { x = crate::b::g() => {} } }"),
            ("b", "use crate::a::f;"),
        ],
        vec![("lib", "mod a; mod b;"), ("a", "mod i { use super::super::b::B; }"), ("b", "use crate::a::A;")],
        // Through a parent's child, and through a re-export whose name the file mentions.
        vec![("a", "mod c; use c::C;"), ("a/c", "use crate::b::B;"), ("b", "use crate::a::A;")],
        vec![
            ("a", "mod c; pub use c::C; fn f(c: C) {}"),
            ("a/c", "use crate::b::B;"),
            ("b", "use crate::a::A;"),
        ],
        // Through others.
        vec![("lib", ""), ("a", "use crate::b::B;"), ("b", "use crate::c::C;"), ("c", "use crate::a::A;")],
        // Through a re-export, to the file that defines the item.
        vec![("lib", "pub use a::A; mod a; mod b;"), ("a", "use crate::b::B;"), ("b", "use crate::A;")],
    ] {
        assert_eq!(found(&files).len(), 1, "{files:?}");
    }
}

#[test]
fn what_is_no_import_makes_no_circle() {
    for files in [
        vec![("lib", "mod a; mod b;"), ("a", "use crate::b::B;"), ("b", "use std::fmt; struct B;")],
        vec![("lib", "mod a;"), ("a", "mod c; use c::C;"), ("a/c", "use super::A; use crate::L;")],
        vec![("a", "mod c; pub use c::C;"), ("a/c", "use crate::b::B;"), ("b", "use crate::a::A;")],
        vec![("lib", "mod a;"), ("a", "use std::fmt; mod c; use c::C;"), ("a/c", "use super::fmt;")],
        vec![
            ("lib", "mod a; mod b;"),
            ("a", "use crate::b::B;"),
            ("b", "#[cfg(test)] mod tests { use crate::a::A; }"),
        ],
        vec![("lib", "mod a; mod b;"), ("a", "use crate::b::B;"), ("b", "pub(in crate::a) struct B;")],
        vec![("lib", "mod a; pub struct L;"), ("a", "use crate::L;"), ("main", "use x::a::A; mod a;")],
    ] {
        assert_eq!(found(&files), Vec::<String>::new(), "{files:?}");
    }
}

#[test]
fn a_circle_is_told_with_its_places() {
    let violations = found(&[("a", "\nuse crate::b::B;"), ("b", "use super::a::A;")]);
    assert_eq!(
        violations,
        ["files import each other: shared/x/src/a.rs:2 imports crate::b::B of shared/x/src/b.rs, \
          shared/x/src/b.rs:1 imports super::a::A of shared/x/src/a.rs"]
    );
}
