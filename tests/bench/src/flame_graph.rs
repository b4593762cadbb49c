//! A flame graph: where a process spent its CPU time, from the samples of perf(1).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::report::rounded;

const WIDTH: f64 = 1_200.0;
const FRAME_HEIGHT: f64 = 16.0;
const HEAD_HEIGHT: f64 = 40.0;
/// The width of a character of a frame's name.
const CHARACTER_WIDTH: f64 = 6.6;
/// The longest name that is written out.
const LONGEST_NAME: usize = 110;
/// The largest file: frames of few samples are left out of a larger one.
const MAX_BYTES: usize = 290_000;
/// The least share of a frame that is drawn.
const LEAST_SHARE: f64 = 0.001;
const COLOURS: [&str; 4] = ["#f6c177", "#f2a65a", "#ef8a62", "#f7d08a"];

/// Samples by stack, the outermost frame first.
#[derive(Debug, Default)]
pub(crate) struct FlameGraph {
    samples: u64,
    callees: BTreeMap<String, Self>,
}

impl FlameGraph {
    /// Reads what `perf script --fields comm,ip,sym` prints: the name of a thread, its frames from the innermost, an empty line.
    pub(crate) fn parse(text: &str) -> Self {
        let mut graph = Self::default();
        for sample in text.split("\n\n") {
            let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
            let Some(thread) = lines.next() else { continue };
            let frames: Vec<String> = lines.map(frame).collect();
            let stack = std::iter::once(thread_name(thread)).chain(frames.into_iter().rev());
            graph.add(stack);
        }
        graph
    }

    fn add(&mut self, stack: impl Iterator<Item = String>) {
        self.samples += 1;
        let mut at = self;
        for name in stack {
            at = at.callees.entry(name).or_default();
            at.samples += 1;
        }
    }

    pub(crate) const fn samples(&self) -> u64 {
        self.samples
    }

    /// The share of each group of threads, the largest first.
    pub(crate) fn threads(&self) -> Vec<(String, f64)> {
        let share = |(name, of): (&String, &Self)| (name.clone(), of.share_of(self));
        let mut shares: Vec<(String, f64)> = self.callees.iter().map(share).collect();
        shares.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        shares
    }

    fn share_of(&self, whole: &Self) -> f64 {
        self.samples as f64 / whole.samples.max(1) as f64
    }

    /// The picture, outermost frames at the top.
    pub(crate) fn svg(&self, title: &str) -> String {
        let mut least = LEAST_SHARE;
        loop {
            let text = self.svg_of(title, least);
            if text.len() <= MAX_BYTES {
                return text;
            }
            least *= 1.5;
        }
    }

    fn svg_of(&self, title: &str, least: f64) -> String {
        let least_samples = self.samples as f64 * least;
        let height = HEAD_HEIGHT + FRAME_HEIGHT * (self.depth(least_samples) as f64 + 0.5);
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"monospace\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fffdf8\"/>\n\
             <text x=\"8\" y=\"24\" font-size=\"15\">{}</text>\n",
            escaped(title)
        );
        self.draw(&mut text, (0.0, 0), self.samples.max(1), least_samples);
        text.push_str("</svg>\n");
        text
    }

    fn draw(&self, text: &mut String, (left, level): (f64, usize), whole: u64, least_samples: f64) {
        let mut left = left;
        for (name, callee) in &self.callees {
            let width = callee.samples as f64 / whole as f64 * WIDTH;
            if callee.samples as f64 >= least_samples {
                let top = HEAD_HEIGHT + FRAME_HEIGHT * level as f64;
                let colour = COLOURS[name.bytes().map(usize::from).sum::<usize>() % COLOURS.len()];
                let share = callee.samples as f64 / whole as f64 * 100.0;
                let shown = escaped(&cut(name, LONGEST_NAME));
                let _ = write!(
                    text,
                    "<g><title>{shown} ({share:.1} %)</title><rect x=\"{left:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"15\" fill=\"{colour}\"/>",
                    (width - 0.4).max(0.2)
                );
                let fits = usize::try_from(rounded(width / CHARACTER_WIDTH - 0.5)).unwrap_or_default();
                if fits >= 4 {
                    let _ = write!(
                        text,
                        "<text x=\"{:.1}\" y=\"{}\">{}</text>",
                        left + 2.0,
                        top + 11.5,
                        escaped(&cut(name, fits))
                    );
                }
                text.push_str("</g>\n");
                callee.draw(text, (left, level + 1), whole, least_samples);
            }
            left += width;
        }
    }

    fn depth(&self, least_samples: f64) -> usize {
        let drawn = self.callees.values().filter(|callee| callee.samples as f64 >= least_samples);
        drawn.map(|callee| 1 + callee.depth(least_samples)).max().unwrap_or(0)
    }
}

/// `order  1234 ...` without what is not its name; numbers of threads of one kind are left out.
fn thread_name(line: &str) -> String {
    let name = line.trim().trim_end_matches(|last: char| last.is_ascii_digit() || last == '-');
    if name.is_empty() { line.trim().to_owned() } else { name.to_owned() }
}

/// The symbol of `ffff address symbol`, without the hash and without what generic types are made of.
fn frame(line: &str) -> String {
    let symbol = line.trim().split_once(' ').map_or("", |(_, symbol)| symbol.trim());
    let symbol = match symbol.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path,
        _ => symbol,
    };
    let mut depth = 0_usize;
    let is_outside = |character: &char| {
        match character {
            '<' => depth += 1,
            '>' => {
                depth = depth.saturating_sub(1);
                return false;
            }
            _ => {}
        }
        depth == 0
    };
    // `<A as B>::c` has nothing outside: it stays.
    let short: String = symbol.chars().filter(is_outside).collect();
    if symbol.starts_with('<') || short.is_empty() { symbol.to_owned() } else { short }
}

fn cut(name: &str, longest: usize) -> String {
    if name.chars().count() <= longest {
        name.to_owned()
    } else {
        name.chars().take(longest - 1).chain(['…']).collect()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: &str = "tokio-rt-worker \n\t  55d0 core::ptr::inner::h0123456789abcdef\n\t  55d1 order::main\n\n\
        rdk:broker1 \n\t  55d2 [unknown]\n\n\
        tokio-rt-worker \n\t  55d3 alloc::vec::Vec<T,A>::push\n\t  55d1 order::main\n\n";

    #[test]
    fn samples_are_summed_by_thread_and_outermost_frame() {
        let graph = FlameGraph::parse(SAMPLES);
        assert_eq!(graph.samples(), 3);
        let threads = graph.threads();
        assert_eq!(threads[0].0, "tokio-rt-worker");
        assert_eq!(threads[1].0, "rdk:broker");
        let main = &graph.callees["tokio-rt-worker"].callees["order::main"];
        assert_eq!(main.samples, 2);
        let inner: Vec<&str> = main.callees.keys().map(String::as_str).collect();
        assert_eq!(inner, ["alloc::vec::Vec::push", "core::ptr::inner"]);
    }

    #[test]
    fn a_picture_has_every_frame_with_its_share_and_a_bounded_size() {
        let svg = FlameGraph::parse(SAMPLES).svg("order & relay");
        assert!(svg.contains("order &amp; relay") && svg.contains("order::main (66.7 %)"), "{svg}");
        let mut many = String::new();
        for sample in 0..20_000 {
            let _ = writeln!(many, "thread\n\t 1 inner_{sample}\n\t 2 outer_{}\n", sample % 500);
        }
        let svg = FlameGraph::parse(&many).svg("many");
        assert!(svg.len() <= MAX_BYTES && svg.contains("outer_7"), "{}", svg.len());
    }
}
