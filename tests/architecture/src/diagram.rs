//! The rendered picture of the system shows what its source says.

use std::collections::BTreeSet;

/// What the Graphviz source `dot` and the picture `svg` do not share: edges, and lines of labels. Empty when the picture was
/// rendered from this source, wherever the nodes lie.
pub fn differences(dot: &str, svg: &str) -> Vec<String> {
    let (source, picture) = (of_source(dot), of_picture(svg));
    let missing = source.difference(&picture).map(|what| format!("the picture lacks {what}"));
    let extra = picture.difference(&source).map(|what| format!("the source lacks {what}"));
    missing.chain(extra).collect()
}

fn of_source(dot: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in dot.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        if let Some((from, to)) = line.split_once(" -> ") {
            let to = to.split_whitespace().next().unwrap_or_default();
            found.insert(format!("{from}->{to}"));
        }
        if let Some((label, _)) = line.split_once("label=\"").and_then(|(_, rest)| rest.split_once('"')) {
            let lines = label.split("\\n").flat_map(|line| line.split("\\l"));
            found.extend(lines.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
    }
    found
}

fn of_picture(svg: &str) -> BTreeSet<String> {
    let plain = |text: &str| {
        text.replace("&#45;", "-").replace("&gt;", ">").replace("&#39;", "'").replace("&#160;", " ")
    };
    let titles = between(svg, "<title>", "</title>").map(plain).filter(|title| title.contains("->"));
    let texts = between(svg, "<text ", "</text>")
        .filter_map(|text| text.split_once('>'))
        .map(|(_, text)| plain(text));
    titles.chain(texts).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
}

fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).filter_map(move |rest| rest.split_once(end)).map(|(inner, _)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SVG: &str = "<title>a</title><text x=\"1\">One</text><text x=\"1\">&#160;</text><text x=\"1\">customer&#39;s</text>
        <title>a:e&#45;&gt;b</title>";

    #[test]
    fn what_is_missing_on_either_side_is_named() {
        let dot = "// x -> y\na [label=\"One\\ncustomer's\\l\"]\na:e -> b [style=dashed]\n";
        assert_eq!(differences(dot, SVG), [""; 0]);
        assert_eq!(differences(&format!("{dot}b -> a\n"), SVG), ["the picture lacks b->a"]);
        assert_eq!(
            differences(&dot.replace("One", "Two"), SVG),
            ["the picture lacks Two", "the source lacks One"]
        );
    }
}
