//! The documentation's commands: whatever a reader may copy is run by a test.

/// The `cargo` lines of the `sh` blocks in `text`, in order, each once. A line that ends in `\` goes on.
pub fn commands(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut in_shell = false;
    let mut unfinished = String::new();
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            in_shell = !in_shell && matches!(language.trim(), "sh" | "bash" | "console");
            continue;
        }
        if !in_shell {
            continue;
        }
        unfinished += line.trim();
        if let Some(start) = unfinished.strip_suffix('\\') {
            unfinished = start.to_owned();
            continue;
        }
        let command = without_comment(unfinished.trim_start_matches("$ ")).trim().to_owned();
        unfinished.clear();
        if command.starts_with("cargo ") && !found.contains(&command) {
            found.push(command);
        }
    }
    found
}

/// `line` without the shell comment at its end.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' && (at == 0 || line[..at].ends_with(' ')) => return &line[..at],
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_lines_of_shell_blocks_are_found() {
        let text = "# Dirql\n\n```sh\ngit clone dirql && cd dirql\ncargo xtask run   # boots\n$ cargo xtask run --exec \"a; # b\" \\\n    \
                    --smp 4\ncargo xtask run\n```\n\n```rust\ncargo();\n```\n`cargo doc`\n```sh\ncargo test\n```\n";
        assert_eq!(commands(text), ["cargo xtask run", "cargo xtask run --exec \"a; # b\" --smp 4", "cargo test"]);
    }
}
