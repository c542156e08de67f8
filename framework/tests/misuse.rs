//! What must not compile: pairs of files one line apart, `misuse/NN_name.bad.rs` and `misuse/NN_name.good.rs`.
//!
//! The bad one must fail with the message in `misuse/NN_name.stderr`: a driver author reads that sentence, so it is
//! kept like any other behaviour. The good one must compile: without it, a pair that fails for a silly reason (a wrong
//! import, a renamed type) would look like a success.
//!
//! `MISUSE_BLESS=1 cargo test -p framework --test misuse` writes the `.stderr` files anew; read the difference.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
};

/// The pairs that the project promises: their number may only grow.
const PROMISED: usize = 80;

#[test]
fn misuse_pairs() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/misuse");
    let compiler = Compiler::with_framework_built(&directory);
    let names = pair_names(&directory);
    assert!(names.len() >= PROMISED, "{} pairs are left of {PROMISED}", names.len());

    let queue = Mutex::new(names.iter());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(name) = next(&queue) {
                    if let Err(sentence) = check_pair(&directory, &compiler, name) {
                        wrong.lock().expect("no thread panics with the list").push(sentence);
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("no thread panicked with the list");
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {} pairs are wrong:\n\n{}", wrong.len(), names.len(), wrong.join("\n\n"));
}

fn next<'a>(queue: &Mutex<std::collections::btree_set::Iter<'a, String>>) -> Option<&'a String> {
    queue.lock().expect("no thread panics with the queue").next()
}

/// The names of all pairs. A file without its twin, or a stray one, is a failure.
fn pair_names(directory: &Path) -> BTreeSet<String> {
    let mut halves: [BTreeSet<String>; 3] = Default::default();
    for entry in fs::read_dir(directory).expect("the pairs lie beside this file") {
        let file = entry.expect("the directory can be read").file_name().into_string().expect("names are plain");
        let endings = [".bad.rs", ".good.rs", ".stderr"];
        match endings.iter().position(|ending| file.ends_with(ending)) {
            Some(half) => _ = halves[half].insert(file.trim_end_matches(endings[half]).into()),
            None => assert_eq!(file, "common.rs", "this file belongs to no pair"),
        }
    }
    let [bad, good, messages] = halves;
    assert_eq!(bad, good, "every pair has a bad and a good half");
    assert!(messages.is_subset(&bad), "a message has no pair: {:?}", messages.difference(&bad));
    bad
}

/// Checks one pair; the error is a sentence.
fn check_pair(directory: &Path, compiler: &Compiler, name: &str) -> Result<(), String> {
    let (bad, good) = (format!("{name}.bad.rs"), format!("{name}.good.rs"));
    let read = |file: &str| fs::read_to_string(directory.join(file)).map_err(|error| format!("{file}: {error}"));
    let (bad_text, good_text) = (read(&bad)?, read(&good)?);
    if bad_text.lines().count() != good_text.lines().count() {
        return Err(format!("{name}: the halves have different numbers of lines"));
    }
    let apart = bad_text.lines().zip(good_text.lines()).filter(|(bad, good)| bad != good).count();
    if apart != 1 {
        return Err(format!("{name}: the halves are {apart} lines apart, not one"));
    }

    let output = compiler.compile(&good);
    if !output.status.success() {
        return Err(format!("{good} must compile:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let output = compiler.compile(&bad);
    if output.status.success() {
        return Err(format!("{bad} must not compile:\n{bad_text}"));
    }
    let message = first_error(&String::from_utf8_lossy(&output.stderr));
    let kept = directory.join(format!("{name}.stderr"));
    if std::env::var_os("MISUSE_BLESS").is_some() {
        return fs::write(&kept, message).map_err(|error| format!("{}: {error}", kept.display()));
    }
    let expected = fs::read_to_string(&kept).unwrap_or_default();
    if message != expected {
        return Err(format!(
            "{bad} fails with another message than it should.\n-- kept:\n{expected}-- now:\n{message}"
        ));
    }
    Ok(())
}

/// The first error of rustc's output as a driver author needs it: the sentence, the code, the notes. What follows
/// about the framework's own lines is left out, because it changes with every line added there.
fn first_error(stderr: &str) -> String {
    let mut kept = String::new();
    let mut in_aside = false;
    for line in stderr.lines().skip_while(|line| !line.starts_with("error")).take_while(|line| !line.is_empty()) {
        let text = line.trim_start();
        if let Some(note) = text.strip_prefix("= note: ") {
            in_aside = is_label(note) || note.starts_with("this error originates");
        } else if ["help:", "note:", "= help:", "::: "].iter().any(|aside| text.starts_with(aside)) {
            in_aside = true;
        }
        if !in_aside {
            kept += line.trim_end();
            kept.push('\n');
        }
    }
    while kept.ends_with("|\n") {
        kept.truncate(kept.trim_end_matches("|\n").trim_end_matches(' ').len());
    }
    kept
}

/// Whether what looks like a note is a label under a line of the framework.
fn is_label(note: &str) -> bool {
    let name = note.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
    name.is_some_and(|name| !name.contains('`'))
        || note.contains("` implements `")
        || note == "in this macro invocation"
}

/// rustc, with the framework as its callers see it.
struct Compiler {
    directory: PathBuf,
    framework: PathBuf,
    out: PathBuf,
}

impl Compiler {
    /// Checks the framework into a target directory of this test's own, so no older build can be picked up.
    fn with_framework_built(directory: &Path) -> Self {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("misuse");
        let output = Command::new(env!("CARGO"))
            .args(["check", "--quiet", "--package", "framework", "--message-format=json", "--target-dir"])
            .arg(&out)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs this test, so it can be started");
        let messages = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "the framework does not build:\n{messages}");
        let framework = messages.lines().filter_map(framework_metadata).next_back();
        let framework = framework.expect("cargo says where it put the framework");
        Compiler { directory: directory.into(), framework, out }
    }

    fn compile(&self, file: &str) -> Output {
        let dependencies = self.framework.parent().expect("the file lies in a directory");
        Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--error-format=human", "--color=never"])
            .args(["--forbid=unsafe_code", "--allow=unused", "--crate-name"])
            .arg(format!("case_{}", file.replace('.', "_")))
            .arg("--out-dir")
            .arg(&self.out)
            .arg("--extern")
            .arg(format!("framework={}", self.framework.display()))
            .arg("-L")
            .arg(format!("dependency={}", dependencies.display()))
            .arg(file)
            .current_dir(&self.directory)
            .output()
            .expect("rustc built this test, so it can be started")
    }
}

/// The path in cargo's message that the framework is checked.
fn framework_metadata(message: &str) -> Option<PathBuf> {
    message.contains(r#""reason":"compiler-artifact""#).then_some(())?;
    let mut strings = message.split('"');
    strings.find(|text| text.contains("libframework-") && text.ends_with(".rmeta")).map(PathBuf::from)
}

#[test]
fn the_kept_message_is_the_first_error_without_the_frameworks_own_lines() {
    let stderr = "warning: an error\n\nerror[E0277]: `X` has no DPC\n  --> a.bad.rs:16:9\n   |\n16 |     irq.queue_dpc();\n   |     ^^^\n   |\n\
                  help: the trait is not implemented\n  --> a.bad.rs:1:1\n   = note: implement `EvtDpc`\n\
                  note: required by a bound\n  --> src/interrupt.rs:1:1\n   = note: this error originates in the macro\n\n\
                  error: aborting\n";
    let kept = "error[E0277]: `X` has no DPC\n  --> a.bad.rs:16:9\n   |\n16 |     irq.queue_dpc();\n   |     ^^^\n   |\n   = note: implement `EvtDpc`\n";
    assert_eq!(first_error(stderr), kept);
}
