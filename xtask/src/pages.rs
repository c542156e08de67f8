//! The pages that a driver author reads say what is so: what they quote stands where they say, their links lead somewhere,
//! and the names that they map KMDF's to are declared.

mod declared;

use crate::{new_driver, newcomer, readme, workspace};
use declared::Declared;
use std::{fs, path::Path};

/// KMDF's and NT's names, and Dirql's.
const MAP: &str = "docs/kmdf-to-dirql.md";

fn page(path: &str) -> String {
    fs::read_to_string(workspace::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The blocks of `text` with their languages, each with the file that the comment before it names.
fn blocks(text: &str) -> Vec<(Option<&str>, &str, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    let mut before = "";
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let source = before.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
            let code = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            found.push((source, language, code));
        }
        before = line;
    }
    found
}

/// The text of `path`, which may be of the driver that the page makes.
fn quoted(path: &str) -> String {
    path.strip_prefix("drivers/blink/").and_then(new_driver::example).unwrap_or_else(|| page(path))
}

#[test]
fn what_the_page_quotes_stands_where_it_says() {
    let text = page(newcomer::PAGE);
    let mut quotes = 0;
    for (source, language, code) in blocks(&text) {
        match source {
            Some(source) => {
                assert!(
                    quoted(source).contains(&code),
                    "{} quotes what {source} does not say:\n{code}",
                    newcomer::PAGE
                );
                quotes += 1;
            }
            None => assert_ne!(language, "rust", "no comment before this says where it stands:\n{code}"),
        }
    }
    assert!(quotes > 0, "nothing is quoted");
}

#[test]
fn the_page_shows_the_commands_that_the_generator_names() {
    let shown = readme::commands(&page(newcomer::PAGE));
    let named = new_driver::example_report();
    assert_eq!(shown.first().map(String::as_str), Some("cargo xtask new-driver blink --pci 1234:11e8"));
    for command in readme::commands(&format!("```sh\n{named}```\n")) {
        assert!(shown.contains(&command), "{} does not show `{command}`", newcomer::PAGE);
    }
}

/// What the page shows too is run in a copy.
#[test]
fn no_command_of_the_readme_makes_a_driver_in_this_workspace() {
    let in_a_copy = readme::commands(&page(newcomer::PAGE));
    for command in readme::commands(&page("README.md")).iter().filter(|command| command.contains("new-driver")) {
        assert!(in_a_copy.contains(command), "`{command}` is not on {}: it would run here", newcomer::PAGE);
    }
}

#[test]
fn links_lead_somewhere() {
    for name in [newcomer::PAGE, MAP] {
        let text = page(name);
        let directory = workspace::root().join(Path::new(name).parent().expect("the pages have a directory"));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let is_elsewhere = file.is_empty() || file.contains("://");
            assert!(is_elsewhere || directory.join(file).exists(), "{name} links to {link}, which is not there");
        }
    }
}

/// What the rows of the map say in the column of Dirql's names.
fn rows(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1)).collect()
}

/// The paths in code font in `cell`.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_name_that_the_map_gives_is_declared() {
    let declared = Declared::in_sources(&["framework/src", "kernel/ke/src", "kernel/io/src"]);
    let text = page(MAP);
    let rows = rows(&text);
    assert!(rows.iter().flat_map(|ours| names(ours)).count() > 50, "the map has lost its names");
    let wrong: Vec<&str> = rows.iter().flat_map(|ours| names(ours)).filter(|name| !declared.has(name)).collect();
    assert!(wrong.is_empty(), "{MAP} gives names that are not declared, or not so: {}", wrong.join(", "));
}

#[test]
fn rows_and_blocks_are_found() {
    let text = "## A\n| KMDF | Dirql | x |\n|---|---|---|\n| b | `C::d`, `e` | f |\n";
    assert_eq!(rows(text), ["Dirql", "`C::d`, `e`"]);
    assert_eq!(names("`C::d`, `e`").collect::<Vec<_>>(), ["C::d", "e"]);
    let text = "<!-- a/b.rs -->\n```rust\nx\n\ny\n```\n\n```sh\nz\n```\n";
    assert_eq!(blocks(text), [(Some("a/b.rs"), "rust", "x\n\ny\n".into()), (None, "sh", "z\n".into())]);
}
