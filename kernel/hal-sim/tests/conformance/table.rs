//! `docs/conformance.md`: which case is shown where, made from the names of the tests.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// Why a case has no test, or what its tests leave out.
enum Note {
    /// The tests say all.
    None,
    /// It cannot be written: the pairs of `framework/tests/misuse` that show it.
    Pairs(&'static [&'static str]),
    /// Part of it is by type or decided otherwise.
    Also(&'static str),
}

use Note::{Also, None, Pairs};

const CASES: &[(u32, &str, Note)] = &[
    (1, "no ISR", Pairs(&["62_c1_no_isr"])),
    (2, "DPC and work item", Pairs(&["60_both_a_dpc_and_a_work_item"])),
    (3, "wait lock for a DIRQL interrupt", Pairs(&["28_wait_lock_for_a_dirql_interrupt"])),
    (4, "spin lock for a passive-level interrupt", Pairs(&["63_c4_spin_lock_for_a_passive_interrupt"])),
    (5, "parent without serialization", Pairs(&["71_c5_scope_data_without_serialization"])),
    (6, "parent that has no callbacks", Pairs(&["72_c6_general_object_as_a_scope"])),
    (7, "order of validation", Pairs(&["64_c7_null_handler"])),
    (8, "created when the device is started", Pairs(&["24_interrupt_in_d0_entry"])),
    (9, "resources given at the wrong time", Pairs(&["23_registers_in_device_add", "25_resources_kept_after_prepare"])),
    (10, "serialized DPC on a passive device ★", Pairs(&["69_c10_serialized_dpc_on_a_passive_device"])),
    (11, "serialized work item on a dispatch device", Pairs(&["70_c11_serialized_work_item_on_a_dispatch_device"])),
    (12, "deleting an interrupt", Pairs(&["65_c12_interrupt_deleted", "66_c12_interrupt_dropped"])),
    (14, "more objects than resources", None),
    (15, "more resources than objects", None),
    (17, "connect forward, disconnect in reverse", None),
    (18, "the whole order of start and stop ★", None),
    (20, "a failure after the interrupts were enabled", None),
    (21, "a disable that fails", None),
    (22, "created in prepare hardware", None),
    (24, "low power without disconnecting ★", None),
    (25, "soft disconnect", None),
    (27, "level and lock in the callbacks", None),
    (28, "what synchronize returns, from every level ★", None),
    (29, "one lock for IRQL 5 and 8 ★", None),
    (31, "another lock at IRQL 9", None),
    (33, "synchronize IRQL below the interrupt's", None),
    (34, "nesting from an ISR", None),
    (35, "the lock before the first enable ★", None),
    (36, "an interrupt's lock as a spin lock ★", Pairs(&["67_c36_interrupt_lock_as_spin_lock"])),
    (
        37,
        "the lock taken twice",
        Also("two guards at a time cannot be written; a forgotten one is a deadlock that is reported"),
    ),
    (40, "five queues, one run ★", None),
    (42, "a DPC waits for the level to fall", None),
    (43, "first arguments win", None),
    (44, "remove", None),
    (46, "importance", None),
    (47, "target CPU", Also("importance and target are chosen at creation, so they cannot change after an insert")),
    (51, "work item from DISPATCH", None),
    (52, "serialized work item", None),
    (53, "DPC watchdog", Also("asking at PASSIVE cannot be written: `query` wants a token at DISPATCH")),
    (54, "a DPC that changes the IRQL", Also("there are no APCs to count")),
    (55, "passive ISRs sleep, and share wait locks", None),
    (57, "trying the lock", Also("at DIRQL and at DISPATCH: pairs 44 and 42")),
    (59, "the lock in a passive interrupt's DPC", Pairs(&["42_synchronize_passive_interrupt_in_its_dpc"])),
    (60, "wait lock with a time-out", None),
    (61, "level chain: first claim ★", None),
    (63, "not shared, other mode", None),
    (65, "a stuck line", None),
    (68, "raise and lower", Also("lowering by raising cannot be written: pair 16")),
    (70, "spin locks", Also("there is no try: nothing wants one")),
    (80, "a timer runs or is stopped", None),
    (81, "periodic timer", Pairs(&["68_passive_timer_that_is_periodic"])),
    (82, "a stop of a timer that waits", Pairs(&["47_stop_and_wait_in_timer"])),
    (83, "passive timer", None),
    (84, "DPC object cancelled, with and without waiting", None),
    (85, "work item object queued and flushed", Pairs(&["48_flush_in_dpc"])),
];

#[test]
fn the_table_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (page, table) = (root.join("docs/conformance.md"), table(&root));
    if env::var_os("DIRQL_BLESS").is_some() {
        fs::write(&page, table).expect("the page can be written");
        return;
    }
    let found = fs::read_to_string(&page).unwrap_or_default();
    assert!(
        found == table,
        "docs/conformance.md is not what the tests say: write it with \
         `DIRQL_BLESS=1 cargo test -p hal-sim --test conformance table`, then look at the difference"
    );
}

/// The page.
fn table(root: &Path) -> String {
    let simulated = tests_in(root, &["kernel/hal-sim/tests", "framework/tests", "drivers"]);
    let on_qemu = tests_in(root, &["kernel/image/src", "xtask/src"]);
    let known = |number: &u32| CASES.iter().any(|(case, ..)| case == number);
    for number in simulated.keys().chain(on_qemu.keys()) {
        assert!(known(number), "a test is named after case {number}, which does not exist");
    }
    let mut rows = String::new();
    for (number, what, note) in CASES {
        let shown = simulated.contains_key(number) || on_qemu.contains_key(number);
        let (by_type, why) = match note {
            None => (String::new(), String::new()),
            Pairs(pairs) => {
                (pairs.iter().map(|pair| pair_of(root, pair)).collect::<Vec<_>>().join("<br>"), String::new())
            }
            Also(why) => (String::new(), (*why).to_owned()),
        };
        assert!(shown || !by_type.is_empty() || !why.is_empty(), "case {number} ({what}) has neither test nor reason");
        let names = |tests: &Tests| tests.get(number).map_or(String::new(), |names| names.join("<br>"));
        let cells = [number.to_string(), (*what).to_owned(), names(&simulated), names(&on_qemu), by_type, why];
        writeln!(rows, "| {} |", cells.join(" | ")).expect("a string grows");
    }
    format!(
        "# Conformance\n\n\
         What is shown of each case, by the names of the tests (`cNN_...`); made by `table.rs` in\n\
         `kernel/hal-sim/tests/conformance`. *Simulated* tests run every schedule within a bound and say when they ran out\n\
         of time. *On QEMU* names the cases that the kernel checks on the machine it runs on (`conformance` at its prompt) or that\n\
         `xtask` boots it for. *By type* names the pair in `framework/tests/misuse` of which one half does not compile. ★: most\n\
         likely to be got wrong. From 80 on: the project's own cases, of objects.\n\n\
         | case | what | simulated | on QEMU | by type | note |\n|---|---|---|---|---|---|\n{rows}"
    )
}

fn pair_of(root: &Path, pair: &str) -> String {
    for half in ["bad", "good"] {
        let file = root.join(format!("framework/tests/misuse/{pair}.{half}.rs"));
        assert!(file.is_file(), "there is no misuse pair {pair}");
    }
    format!("`{pair}`")
}

/// Names of tests by the number of their case.
type Tests = BTreeMap<u32, Vec<String>>;

fn tests_in(root: &Path, folders: &[&str]) -> Tests {
    let mut tests = Tests::new();
    for folder in folders {
        for file in sources(&root.join(folder)) {
            let text = fs::read_to_string(&file).expect("a source file is text");
            for (number, name) in text.lines().filter_map(case_of) {
                let package = folder.trim_start_matches("kernel/").split('/').next().unwrap_or(folder);
                tests.entry(number).or_default().push(format!("{package} `{name}`"));
            }
        }
    }
    tests
}

/// The number and name of a test that is defined in this line.
fn case_of(line: &str) -> Option<(u32, &str)> {
    let definition = ["pub(super) ", "pub(crate) ", "pub "].iter().find_map(|v| line.trim_start().strip_prefix(v));
    let name = definition.unwrap_or(line.trim_start()).strip_prefix("fn c")?.split(['(', '<']).next()?;
    let (number, what) = name.split_once('_')?;
    Some((number.parse().ok()?, what))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
