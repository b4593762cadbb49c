//! What one file says of others: its `use` declarations, and the paths that it mentions.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::layers::colons;
use crate::sources::without_tests;

/// A path as it is written, and the module that it is written in.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) module: Vec<String>,
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

/// One name of a `use` declaration; `*` for a glob, `_` for a trait that is not named.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(crate) name: String,
    pub(crate) is_public: bool,
    pub(crate) of: Written,
}

/// What a file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) uses: Vec<Use>,
    pub(crate) mentions: Vec<Written>,
    pub(crate) names: BTreeSet<String>,
    /// Modules that stand in the file itself.
    pub(crate) inline: Vec<Vec<String>>,
}

/// Works on tokens, so that what stands inside `tokio::select!` and its like is seen too.
pub(crate) fn scan(tokens: TokenStream, module: &[String], said: &mut Said) {
    let tokens = without_tests(tokens);
    let mut at = 0;
    let mut is_public = false;
    while at < tokens.len() {
        let was_public = std::mem::take(&mut is_public);
        match &tokens[at] {
            TokenTree::Group(group) => scan(group.stream(), module, said),
            TokenTree::Ident(ident) => match (ident.to_string().as_str(), tokens.get(at + 1)) {
                ("pub", next) => {
                    is_public = true;
                    at += usize::from(is_group(next, Delimiter::Parenthesis));
                }
                ("mod", Some(TokenTree::Ident(name))) => {
                    if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
                        let inner = joined(module, &name.to_string());
                        scan(body.stream(), &inner, said);
                        said.inline.push(inner);
                    }
                    at += 2;
                }
                ("use", Some(TokenTree::Ident(_) | TokenTree::Group(_))) => {
                    let length = tokens[at..].iter().take_while(|token| !is_punct(token, ';')).count();
                    tree(&tokens[at + 1..at + length], &[], &mut |path, name, line| {
                        let of = Written { module: module.to_vec(), path, line };
                        said.uses.push(Use { name, is_public: was_public, of });
                    });
                    at += length;
                }
                (name, _) => {
                    said.names.insert(name.to_owned());
                    at += mention(&tokens, at, module, said);
                }
            },
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
}

/// Notes the path that begins here, if one does; how many tokens follow its first.
fn mention(tokens: &[TokenTree], at: usize, module: &[String], said: &mut Said) -> usize {
    let mut path = vec![tokens[at].to_string()];
    let mut end = at;
    while colons(tokens, end + 1) {
        let Some(TokenTree::Ident(next)) = tokens.get(end + 3) else { break };
        path.push(next.to_string());
        end += 3;
    }
    let is_continued = at >= 2 && colons(tokens, at - 2);
    if path.len() > 1 && !is_continued {
        let line = tokens[at].span().start().line;
        said.mentions.push(Written { module: module.to_vec(), path, line });
    }
    end - at
}

/// Takes a `use` tree apart: `a::{b, c::{self, D as E}}`.
fn tree(tokens: &[TokenTree], before: &[String], note: &mut impl FnMut(Vec<String>, String, usize)) {
    for part in tokens.split(|token| is_punct(token, ',')) {
        branch(part, before, note);
    }
}

fn branch(tokens: &[TokenTree], before: &[String], note: &mut impl FnMut(Vec<String>, String, usize)) {
    let mut path = before.to_vec();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) if ident == "as" => {
                let name = tokens.get(at + 1).map(ToString::to_string).unwrap_or_default();
                return note(path, name, line(token));
            }
            // `self` ends a group; at the beginning it is the module itself.
            TokenTree::Ident(ident) if ident == "self" && !path.is_empty() => {}
            TokenTree::Ident(ident) => path.push(ident.to_string()),
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                return tree_boxed(&inner, &path, note);
            }
            TokenTree::Punct(punct) if punct.as_char() == '*' => {
                return note(path, "*".to_owned(), line(token));
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    if let (Some(name), Some(last)) = (path.last().cloned(), tokens.last()) {
        note(path, name, line(last));
    }
}

fn tree_boxed(tokens: &[TokenTree], before: &[String], note: &mut dyn FnMut(Vec<String>, String, usize)) {
    tree(tokens, before, &mut |path, name, line| note(path, name, line));
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_group(token: Option<&TokenTree>, delimiter: Delimiter) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == delimiter)
}

pub(crate) fn joined(module: &[String], name: &str) -> Vec<String> {
    let mut joined = module.to_vec();
    joined.push(name.to_owned());
    joined
}
