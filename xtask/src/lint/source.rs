//! One source file: its syntax tree, and its comments, which the tree does not have.

use anyhow::{Result, anyhow};
use std::collections::BTreeMap;

/// A parsed file.
pub struct Source {
    /// Relative to the workspace, with `/`.
    pub path: String,
    pub tree: syn::File,
    /// Comment text by line (from 1), without the slashes. A line with code and a comment has both.
    comments: BTreeMap<usize, String>,
    /// The lines that hold a comment or an attribute and nothing else.
    preface: Vec<bool>,
}

impl Source {
    pub fn parse(path: &str, text: &str) -> Result<Self> {
        let tree = syn::parse_file(text)
            .map_err(|error| anyhow!("{path}:{}: does not parse: {error}", error.span().start().line))?;
        let comments = comments(text);
        let preface =
            text.lines().map(|line| line.trim_start()).map(|line| line.starts_with("//") || line.starts_with("#["));
        Ok(Source { path: path.into(), tree, comments, preface: preface.collect() })
    }

    pub fn comments(&self) -> impl Iterator<Item = (usize, &str)> {
        self.comments.iter().map(|(line, text)| (*line, text.as_str()))
    }

    /// What the comments about the code on lines `first..=last` say after `marker`: those lines' own comments, and the
    /// comments and attributes directly above. Continues to the end of that comment or to its next heading.
    pub fn note(&self, marker: &str, first: usize, last: usize) -> Option<String> {
        let mut start = first;
        while start > 1 && self.preface.get(start - 2).copied().unwrap_or(false) {
            start -= 1;
        }
        let lines: Vec<(usize, &String)> =
            self.comments.range(start..=last).map(|(line, text)| (*line, text)).collect();
        let found = lines.iter().rposition(|(_, text)| text.contains(marker))?;
        let (at, text) = lines[found];
        let mut reason = text.split_once(marker)?.1.trim().to_owned();
        for (expected, (line, text)) in (at + 1..).zip(&lines[found + 1..]) {
            if *line != expected || text.trim_start().starts_with('#') {
                break;
            }
            reason = format!("{reason} {}", text.trim());
        }
        Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty())
    }
}

/// The text of every comment, by line.
fn comments(text: &str) -> BTreeMap<usize, String> {
    let mut found: BTreeMap<usize, String> = BTreeMap::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            found.entry(line).or_default().push_str(rest[..end].trim_start_matches(['/', '!']));
            end
        } else if rest.starts_with("/*") {
            let end = block_comment(rest);
            for (index, part) in rest[..end].lines().enumerate() {
                found.entry(line + index).or_default().push_str(part.trim_matches(['/', '*', '!']));
            }
            end
        } else {
            literal(rest).unwrap_or(first.len_utf8())
        };
        line += rest[..length].matches('\n').count();
        // An identifier may end in what begins a literal (`for r in "..."` against the prefix r): take words whole.
        rest = &rest[length..];
    }
    found
}

/// The length of the block comment that `text` begins with; block comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of the word, string or character that `text` begins with, if it begins with one.
fn literal(text: &str) -> Option<usize> {
    let word = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let after = &text[word..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    match &text[..word] {
        "r" | "br" | "cr" if after[hashes..].starts_with('"') => {
            let close = format!("\"{}", "#".repeat(hashes));
            let inside = word + hashes + 1;
            Some(text[inside..].find(&close).map_or(text.len(), |end| inside + end + close.len()))
        }
        "" | "b" | "c" if after.starts_with('"') => Some(word + quoted(after, '"')),
        "" | "b" if after.starts_with('\'') && is_character(after) => Some(word + quoted(after, '\'')),
        "" => None,
        _ => Some(word),
    }
}

/// Whether `text`, which begins with a quote, begins with a character rather than a lifetime.
fn is_character(text: &str) -> bool {
    let mut characters = text.chars().skip(1);
    matches!((characters.next(), characters.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

/// The length of the quoted text that `text` begins with, escapes passed over.
fn quoted(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return at + 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_told_from_strings_and_lifetimes() {
        let text = r##"
let a = "// no"; // one
let b = r#"// no " // no"#; /* two
   three /* nested */ still */ let c = '"'; // four
fn f<'a>(x: &'a str) {} // five
let d = b'\''; let e = '/'; // six
let r = for_r"// no"; // seven
"##;
        let found: Vec<(usize, String)> =
            comments(text).into_iter().map(|(line, text)| (line, text.trim().to_owned())).collect();
        let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7], "{found:?}");
        assert_eq!(found[0].1, "one");
        assert!(found[2].1.contains("still") && found[2].1.contains("four"), "{found:?}");
        assert_eq!(found[5].1, "seven");
    }

    #[test]
    fn a_note_is_found_above_over_attributes_and_read_to_its_end() {
        let text = "// SAFETY: the block is this CPU's,\n// and it lives on.\n#[inline]\nfn f() {}\n\n// SAFETY: far\n\nfn g() {}\n";
        let source = Source::parse("x.rs", text).expect("it parses");
        assert_eq!(source.note("SAFETY:", 4, 4).as_deref(), Some("the block is this CPU's, and it lives on."));
        assert_eq!(source.note("SAFETY:", 8, 8), None, "a blank line is between");
    }
}
