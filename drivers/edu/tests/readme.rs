//! The README shows this driver as it is.

/// Every `rust` block of the README that a comment says is from here stands here, line by line.
#[test]
fn the_readme_shows_the_driver_as_it_is() {
    let readme = include_str!("../../../README.md");
    let driver = include_str!("../src/lib.rs");
    let mut shown = 0;
    for block in readme.split("<!-- drivers/edu/src/lib.rs -->\n```rust\n").skip(1) {
        let code = block.split("```").next().unwrap_or_default();
        assert!(driver.contains(code), "the README shows what drivers/edu/src/lib.rs does not have:\n{code}");
        shown += 1;
    }
    assert!(shown > 0, "the README shows nothing of drivers/edu/src/lib.rs");
}
