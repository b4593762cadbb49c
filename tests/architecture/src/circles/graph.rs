//! Circles in a graph of files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One file imports another.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) line: usize,
    pub(super) name: String,
}

/// One shortest circle for each group of files that reach each other.
pub(super) fn circles(edges: &[Edge]) -> Vec<Vec<Edge>> {
    let mut of: BTreeMap<&str, Vec<&Edge>> = BTreeMap::new();
    for edge in edges {
        of.entry(&edge.from).or_default().push(edge);
    }
    let mut reported: BTreeSet<&str> = BTreeSet::new();
    let mut circles = Vec::new();
    for file in of.keys() {
        if reported.contains(file) {
            continue;
        }
        if let Some(circle) = shortest(&of, file) {
            reported.extend(circle.iter().map(|edge| edge.from.as_str()));
            circles.push(circle.into_iter().cloned().collect());
        }
    }
    circles
}

/// The shortest way from a file back to it.
fn shortest<'a>(of: &BTreeMap<&str, Vec<&'a Edge>>, start: &str) -> Option<Vec<&'a Edge>> {
    let mut came: BTreeMap<&str, &'a Edge> = BTreeMap::new();
    let mut next = VecDeque::from([start]);
    while let Some(file) = next.pop_front() {
        for &edge in of.get(file).into_iter().flatten() {
            if came.contains_key(edge.to.as_str()) {
                continue;
            }
            came.insert(&edge.to, edge);
            if edge.to == start {
                return Some(back(&came, start));
            }
            next.push_back(&edge.to);
        }
    }
    None
}

fn back<'a>(came: &BTreeMap<&str, &'a Edge>, start: &str) -> Vec<&'a Edge> {
    let mut way = Vec::new();
    let mut file = start;
    while let Some(&edge) = came.get(file) {
        way.push(edge);
        file = &edge.from;
        if file == start {
            break;
        }
    }
    way.reverse();
    way
}
