//! The checked-in types are those that the schemas give.

use std::path::Path;

#[test]
fn the_checked_in_types_are_as_generated() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let stale: Vec<_> = codegen::stale_files(root).unwrap().into_iter().map(|file| file.path).collect();
    assert!(stale.is_empty(), "run `make generate`; not as generated: {stale:?}");
}
