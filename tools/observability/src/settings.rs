//! The settings of a section, read from its structure in the source: names, types, doc comments.

use anyhow::{Context, ensure};
use syn::{Attribute, Expr, ExprLit, Fields, Item, ItemEnum, ItemStruct, Lit, Meta, Type, Visibility};

/// One setting as its structure declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key within its section.
    pub key: String,
    /// What kind of value it takes.
    pub kind: Kind,
    /// Its doc comment, as one paragraph.
    pub meaning: String,
}

/// The kinds of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A number.
    Number,
    /// Any text.
    Text,
    /// One of these words.
    Word(Vec<String>),
    /// Keys with values.
    Table,
}

/// The settings of the structure `name` in the file `source`, whose content is `text`. Settings that are no longer written
/// (`skip_serializing`) are accepted without effect, and left out.
///
/// # Errors
/// When the structure is missing, a setting has no doc comment, or its type is one that this does not know.
pub fn of(text: &str, source: &str, name: &str) -> anyhow::Result<Vec<Setting>> {
    let file = syn::parse_file(text).with_context(|| format!("parsing {source}"))?;
    let structure = structures(&file.items)
        .find(|structure| structure.ident == name)
        .with_context(|| format!("{source} has no structure {name}"))?;
    let Fields::Named(fields) = &structure.fields else { return Ok(Vec::new()) };
    let mut settings = Vec::new();
    for field in &fields.named {
        let key = field.ident.as_ref().context("a named field")?.to_string();
        if has_serde_word(&field.attrs, "skip_serializing") {
            continue;
        }
        ensure!(
            matches!(field.vis, Visibility::Public(_)),
            "{source}: {name}.{key} is a setting, so it is public"
        );
        let meaning = doc(&field.attrs);
        ensure!(
            meaning.ends_with('.'),
            "{source}: {name}.{key} has no doc comment that ends with a full stop"
        );
        let kind = kind(&field.ty, &file.items)
            .with_context(|| format!("{source}: {name}.{key} has a type that no page describes yet"))?;
        settings.push(Setting { key, kind, meaning });
    }
    Ok(settings)
}

/// The string literal that the field `field` gets where the file `source` makes a value of the structure `structure`.
///
/// # Errors
/// When there is no such place.
pub fn literal(text: &str, source: &str, structure: &str, field: &str) -> anyhow::Result<String> {
    struct Search<'a>(&'a str, &'a str, Option<String>);
    impl<'ast> syn::visit::Visit<'ast> for Search<'_> {
        fn visit_expr_struct(&mut self, found: &'ast syn::ExprStruct) {
            let is_wanted = found.path.segments.last().is_some_and(|segment| segment.ident == self.0);
            for given in found.fields.iter().filter(|_| is_wanted) {
                let is_field = matches!(&given.member, syn::Member::Named(name) if name == self.1);
                if let (true, Expr::Lit(ExprLit { lit: Lit::Str(text), .. })) = (is_field, &given.expr) {
                    self.2 = Some(text.value());
                }
            }
            syn::visit::visit_expr_struct(self, found);
        }
    }
    let file = syn::parse_file(text).with_context(|| format!("parsing {source}"))?;
    let mut search = Search(structure, field, None);
    syn::visit::Visit::visit_file(&mut search, &file);
    search.2.with_context(|| format!("{source} makes no {structure} with a literal {field}"))
}

fn structures(items: &[Item]) -> impl Iterator<Item = &ItemStruct> {
    items.iter().filter_map(|item| if let Item::Struct(found) = item { Some(found) } else { None })
}

fn enumerations(items: &[Item]) -> impl Iterator<Item = &ItemEnum> {
    items.iter().filter_map(|item| if let Item::Enum(found) = item { Some(found) } else { None })
}

fn kind(ty: &Type, items: &[Item]) -> Option<Kind> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    match last.ident.to_string().as_str() {
        "bool" => Some(Kind::Flag),
        "u16" | "u32" | "u64" | "usize" | "i32" | "i64" | "f64" => Some(Kind::Number),
        "String" | "Secret" => Some(Kind::Text),
        "BTreeMap" => Some(Kind::Table),
        "Option" => match &last.arguments {
            syn::PathArguments::AngleBracketed(given) => match given.args.first()? {
                syn::GenericArgument::Type(inner) => kind(inner, items),
                _ => None,
            },
            _ => None,
        },
        name => {
            let found = enumerations(items).find(|found| found.ident == name)?;
            let is_snake = has_serde_word(&found.attrs, "snake_case");
            is_snake
                .then(|| Kind::Word(found.variants.iter().map(|one| snake(&one.ident.to_string())).collect()))
        }
    }
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Whether an attribute `#[serde(...)]` has `word`, as a name of its own or as a text.
fn has_serde_word(attributes: &[Attribute], word: &str) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("serde")).any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return false };
        list.tokens.to_string().split([',', '=']).any(|part| part.trim().trim_matches('"') == word)
    })
}

/// The doc comment as one paragraph.
fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: &str = r#"
        #[serde(rename_all = "snake_case")]
        pub enum Colour { Red, DarkBlue }
        pub struct Section {
            /// The first line,
            /// and the second.
            pub timeout_ms: Option<u32>,
            /// A colour.
            pub colour: Colour,
            #[serde(skip_serializing)]
            former: Option<u32>,
        }
        fn main() { run(Definition { name: "x", listen: "127.0.0.1:1" }) }
    "#;

    #[test]
    fn names_types_and_comments_are_read() {
        let words = Kind::Word(vec!["red".into(), "dark_blue".into()]);
        let setting =
            |key: &str, kind, meaning: &str| Setting { key: key.into(), kind, meaning: meaning.into() };
        let wanted = [
            setting("timeout_ms", Kind::Number, "The first line, and the second."),
            setting("colour", words, "A colour."),
        ];
        assert_eq!(of(SECTION, "x.rs", "Section").unwrap(), wanted);
        assert_eq!(literal(SECTION, "x.rs", "Definition", "listen").unwrap(), "127.0.0.1:1");
    }

    #[test]
    fn what_can_not_be_described_is_refused_by_its_name() {
        for (from, to, named) in [
            ("/// A colour.", "", "Section.colour"),
            ("/// A colour.", "/// A colour", "Section.colour"),
            ("Option<u32>,\n            /// A", "Vec<u32>,\n            /// A", "Section.timeout_ms"),
            ("pub colour", "colour", "Section.colour"),
            ("struct Section", "struct Other", "Section"),
        ] {
            let changed = SECTION.replace(from, to);
            assert_ne!(changed, SECTION, "{from}");
            let refused = format!("{:#}", of(&changed, "x.rs", "Section").unwrap_err());
            assert!(refused.contains(named), "{from}: {refused}");
        }
        assert!(literal(SECTION, "x.rs", "Definition", "migrator").is_err());
    }
}
