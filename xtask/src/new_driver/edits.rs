//! The three files that a new driver is entered in, each as text before and after.
//!
//! Drivers stand together and sorted in the manifests, and so they do with one more; all else stays as it is.

use super::{TABLE, names::DriverName};
use anyhow::{Context, Result, bail};
use toml_edit::{DocumentMut, InlineTable, Item, Table, Value, value};

/// The first line of the table of drivers.
const TABLE_BEGINS: &str = "const DRIVERS: &[Driver] = &[";
/// The line after its last row.
const TABLE_ENDS: &str = "];";

/// The drivers among the members of the workspace.
pub fn drivers(manifest: &str) -> Result<Vec<String>> {
    let mut manifest: DocumentMut = manifest.parse()?;
    let members = members(&mut manifest)?.iter().filter_map(Value::as_str);
    Ok(members.filter_map(|member| member.strip_prefix("drivers/")).map(String::from).collect())
}

/// The workspace's manifest with driver `name` as a member, and as a dependency that members can have.
pub fn workspace_manifest(manifest: &str, drivers: &[String], name: &DriverName) -> Result<String> {
    let mut manifest: DocumentMut = manifest.parse()?;
    let path = format!("drivers/{name}");

    let members = members(&mut manifest)?;
    let names: Vec<String> = members.iter().filter_map(Value::as_str).map(String::from).collect();
    let paths: Vec<String> = drivers.iter().map(|driver| format!("drivers/{driver}")).collect();
    let place = place(&names, &paths, &path);
    // Each member has a line of its own.
    members.insert_formatted(place, Value::from(path.as_str()).decorated("\n    ", ""));

    let dependencies = manifest["workspace"]["dependencies"].as_table_mut();
    let dependencies = dependencies.context("it has no [workspace.dependencies]")?;
    let dependency = InlineTable::from_iter([("path", path)]);
    insert(dependencies, drivers, name, value(dependency))?;
    Ok(manifest.to_string())
}

/// The image's manifest with driver `name` as a dependency.
pub fn image_manifest(manifest: &str, drivers: &[String], name: &DriverName) -> Result<String> {
    const BARE: &str = "cfg(target_os = \"none\")";
    let mut manifest: DocumentMut = manifest.parse()?;
    let target = manifest.get_mut("target").and_then(|target| target.get_mut(BARE));
    let dependencies = target.and_then(|target| target.get_mut("dependencies")?.as_table_mut());
    let dependencies = dependencies.with_context(|| format!("it has no [target.'{BARE}'.dependencies]"))?;
    let mut dependency = Table::new();
    dependency.set_dotted(true);
    dependency.insert("workspace", value(true));
    insert(dependencies, drivers, name, Item::Table(dependency))?;
    Ok(manifest.to_string())
}

/// The image's table of drivers with a row for `name`, the last: what a device had as its driver, it keeps.
pub fn driver_table(source: &str, name: &DriverName) -> Result<String> {
    let row = format!("Driver::of::<{}::{}>(),", name.krate(), name.device_type());
    if source.lines().any(|line| line.trim() == row) {
        return Ok(source.into());
    }
    let begin = source.lines().position(|line| line == TABLE_BEGINS);
    let length = begin.and_then(|begin| source.lines().skip(begin).position(|line| line == TABLE_ENDS));
    let (Some(begin), Some(length)) = (begin, length) else {
        bail!(
            "its table of drivers is not between `{TABLE_BEGINS}` and `{TABLE_ENDS}`: \
               add the line `{row}` to it by hand, then run this again (nothing was changed in {TABLE} or elsewhere)"
        );
    };
    let mut lines: Vec<&str> = source.split_inclusive('\n').collect();
    let row = format!("    {row}\n");
    lines.insert(begin + length, &row);
    Ok(lines.concat())
}

fn members(manifest: &mut DocumentMut) -> Result<&mut toml_edit::Array> {
    let workspace = manifest.get_mut("workspace").context("it has no [workspace]")?;
    workspace.get_mut("members").and_then(Item::as_array_mut).context("its [workspace] has no list of members")
}

/// Where `new` goes among `all`, some of which are `drivers`: before the first driver that sorts after it, or else after
/// the last one.
fn place(all: &[String], drivers: &[String], new: &str) -> usize {
    let is_driver = |name: &String| drivers.contains(name);
    let before = all.iter().position(|name| is_driver(name) && name.as_str() > new);
    before.unwrap_or_else(|| all.iter().rposition(is_driver).map_or(all.len(), |last| last + 1))
}

/// Adds `name` to `table` at its place.
fn insert(table: &mut Table, drivers: &[String], name: &DriverName, item: Item) -> Result<()> {
    let mut order: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
    if order.iter().any(|key| key == name.package()) {
        bail!("it names a dependency `{name}` already");
    }
    order.insert(place(&order, drivers, name.package()), name.package().into());
    table.insert(name.package(), item);
    let rank = |key: &toml_edit::Key| order.iter().position(|name| name == key.get());
    table.sort_values_by(|one, _, other, _| rank(one).cmp(&rank(other)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"[workspace]
resolver = "3"
members = [
    "kernel/ke",
    # The drivers.
    "drivers/acpi-button",
    "drivers/edu",
    "xtask",
]

[workspace.dependencies]
ke = { path = "kernel/ke" }
acpi-button = { path = "drivers/acpi-button" }
edu = { path = "drivers/edu" }
acpi = { version = "=6.1.1", default-features = false }

# After.
[workspace.lints.rust]
unused_must_use = "deny"
"#;

    const IMAGE: &str = r#"[package]
name = "kernel"

[dependencies]
serde_json = "1"

[target.'cfg(target_os = "none")'.dependencies]
acpi-button.workspace = true
edu.workspace = true
framework.workspace = true # last
"#;

    const SOURCE: &str = "use a::b;\n\nconst DRIVERS: &[Driver] = &[\n    Driver::of::<edu::Edu>(),\n    // Last.\n    \
                          Driver::of::<twins::Twin>(),\n];\n\nconst OTHER: &[u8] = &[\n];\n";

    fn name(text: &str) -> DriverName {
        text.parse().expect("it is a name")
    }

    fn known() -> Vec<String> {
        drivers(MANIFEST).expect("it has members")
    }

    /// `text` with `lines` before the lines that are named.
    fn with(text: &str, lines: &[(&str, &str)]) -> String {
        lines.iter().fold(text.into(), |text: String, (new, next)| {
            assert_eq!(text.matches(next).count(), 1, "{next}");
            text.replace(next, &format!("{new}{next}"))
        })
    }

    #[test]
    fn the_workspace_gets_two_lines_at_their_places() {
        assert_eq!(known(), ["acpi-button", "edu"]);
        let blink = workspace_manifest(MANIFEST, &known(), &name("blink")).expect("it has the usual shape");
        let lines = [
            ("    \"drivers/blink\",\n", "    \"drivers/edu\""),
            ("blink = { path = \"drivers/blink\" }\n", "edu = {"),
        ];
        assert_eq!(blink, with(MANIFEST, &lines));
        let zero = workspace_manifest(MANIFEST, &known(), &name("zero")).expect("it has the usual shape");
        let lines =
            [("    \"drivers/zero\",\n", "    \"xtask\""), ("zero = { path = \"drivers/zero\" }\n", "acpi = {")];
        assert_eq!(zero, with(MANIFEST, &lines));
    }

    #[test]
    fn the_image_gets_one() {
        let lines = [("blink.workspace = true\n", "edu.workspace")];
        assert_eq!(image_manifest(IMAGE, &known(), &name("blink")).expect("it is usual"), with(IMAGE, &lines));
        let lines = [("zero.workspace = true\n", "framework.workspace")];
        assert_eq!(image_manifest(IMAGE, &known(), &name("zero")).expect("it is usual"), with(IMAGE, &lines));
    }

    #[test]
    fn what_is_there_is_not_replaced() {
        let error = workspace_manifest(MANIFEST, &known(), &name("acpi")).expect_err("it is a dependency");
        assert!(error.to_string().contains("`acpi` already"), "{error}");
        let error = image_manifest(IMAGE, &known(), &name("framework")).expect_err("it is a dependency");
        assert!(error.to_string().contains("`framework` already"), "{error}");
    }

    #[test]
    fn a_manifest_of_another_shape_is_refused() {
        let refused = |result: Result<String>, sentence: &str| {
            let error = result.expect_err("it lacks something").to_string();
            assert!(error.contains(sentence), "{error}");
        };
        refused(workspace_manifest("[workspace]\n", &[], &name("blink")), "no list of members");
        refused(workspace_manifest("[workspace]\nmembers = []\n", &[], &name("blink")), "[workspace.dependencies]");
        refused(
            image_manifest("[package]\n", &[], &name("blink")),
            "[target.'cfg(target_os = \"none\")'.dependencies]",
        );
        assert!(drivers("members = [").is_err());
    }

    #[test]
    fn the_row_comes_last() {
        let table = driver_table(SOURCE, &name("my-disk")).expect("it has the usual shape");
        let lines = [("    Driver::of::<my_disk::MyDisk>(),\n", "];\n\nconst OTHER")];
        assert_eq!(table, with(SOURCE, &lines));
        assert_eq!(driver_table(&table, &name("my-disk")).expect("it is there already"), table);
    }

    #[test]
    fn a_table_of_another_shape_is_for_the_author_to_change() {
        for source in ["", "const DRIVERS: &[Driver] = &[];\n", "static DRIVERS: &[Driver] = &[\n];\n"] {
            let error = driver_table(source, &name("blink")).expect_err("there is no place for the row").to_string();
            assert!(error.contains("add the line `Driver::of::<blink::Blink>(),` to it by hand"), "{error}");
        }
        let by_hand = "static TABLE: &[Driver] = &[\n    Driver::of::<blink::Blink>(),\n];\n";
        assert_eq!(driver_table(by_hand, &name("blink")).expect("it was added"), by_hand);
    }
}
