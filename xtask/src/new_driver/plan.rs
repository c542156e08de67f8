//! Files to make and to change: all of them, or none.

use anyhow::{Context, Error, Result};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// Files to make and to change below one directory.
#[derive(Debug)]
pub struct Plan {
    root: PathBuf,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    /// Relative to the root.
    file: String,
    text: String,
    /// What is there before. `None`: nothing, and nothing is overwritten.
    before: Option<String>,
}

impl Plan {
    pub fn new(root: &Path) -> Self {
        Plan { root: root.into(), steps: Vec::new() }
    }

    /// A file to make.
    pub fn create(&mut self, file: String, text: String) {
        self.steps.push(Step { file, text, before: None });
    }

    /// A file to change from `before` to `text`.
    pub fn change(&mut self, file: &str, text: String, before: String) {
        self.steps.push(Step { file: file.into(), text, before: Some(before) });
    }

    /// The files, in order.
    #[cfg(test)]
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| &*step.file)
    }

    /// Writes the files, then does `last`. What fails is undone, back to the first step.
    pub fn carry_out(&self, last: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut undo = Vec::new();
        let done = self.steps.iter().try_for_each(|step| self.write(step, &mut undo));
        done.and_then(|()| last()).map_err(|error| taken_back(error, undo))
    }

    /// Notes in `undo` what it has done, also when it fails halfway.
    fn write(&self, step: &Step, undo: &mut Vec<Undo>) -> Result<()> {
        let path = self.root.join(&step.file);
        let context = || format!("{} cannot be written", step.file);
        if let Some(before) = &step.before {
            undo.push(Undo::Restore(path.clone(), before.clone()));
            return fs::write(path, &step.text).with_context(context);
        }
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|directory| !directory.exists()).collect();
        for directory in missing.into_iter().rev() {
            fs::create_dir(directory).with_context(context)?;
            undo.push(Undo::RemoveDirectory(directory.into()));
        }
        let mut file = File::create_new(&path).with_context(context)?;
        undo.push(Undo::Remove(path));
        file.write_all(step.text.as_bytes()).with_context(context)
    }
}

enum Undo {
    Restore(PathBuf, String),
    Remove(PathBuf),
    RemoveDirectory(PathBuf),
}

/// Undoes, last first, and says in `error` what was left.
fn taken_back(error: Error, undo: Vec<Undo>) -> Error {
    let mut left = Vec::new();
    for step in undo.into_iter().rev() {
        let (path, result) = match &step {
            Undo::Restore(path, text) => (path, fs::write(path, text)),
            Undo::Remove(path) => (path, fs::remove_file(path)),
            Undo::RemoveDirectory(path) => (path, fs::remove_dir(path)),
        };
        if let Err(problem) = result {
            left.push(format!("{} ({problem})", path.display()));
        }
    }
    match left.is_empty() {
        true => error.context("nothing was changed"),
        false => error.context(format!("these could not be put back as they were: {}", left.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{anyhow, bail};

    /// A directory of this test's own with `kept.txt` in it.
    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("xtask-plan-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).expect("it can be made");
        fs::write(directory.join("kept.txt"), "before").expect("it can be written");
        directory
    }

    fn plan(root: &Path) -> Plan {
        let mut plan = Plan::new(root);
        plan.create("new/src/lib.rs".into(), "text".into());
        plan.change("kept.txt", "after".into(), "before".into());
        plan
    }

    #[test]
    fn all_is_written() {
        let root = directory("written");
        plan(&root).carry_out(|| Ok(())).expect("nothing is in the way");
        assert_eq!(fs::read_to_string(root.join("new/src/lib.rs")).expect("it is there"), "text");
        assert_eq!(fs::read_to_string(root.join("kept.txt")).expect("it is there"), "after");
        fs::remove_dir_all(root).expect("it is ours");
    }

    #[test]
    fn a_failure_at_the_end_takes_everything_back() {
        let root = directory("end");
        let error = plan(&root).carry_out(|| bail!("no formatter")).expect_err("the last step fails");
        assert_eq!(format!("{error:#}"), "nothing was changed: no formatter");
        assert_eq!(fs::read_to_string(root.join("kept.txt")).expect("it is there"), "before");
        assert!(!root.join("new").exists());
        fs::remove_dir_all(root).expect("it is ours");
    }

    #[test]
    fn a_file_that_exists_is_not_overwritten() {
        let root = directory("exists");
        let mut plan = plan(&root);
        plan.create("kept.txt".into(), "mine".into());
        plan.carry_out(|| Ok(())).expect_err("the file exists");
        assert_eq!(fs::read_to_string(root.join("kept.txt")).expect("it is there"), "before");
        assert!(!root.join("new").exists());
        fs::remove_dir_all(root).expect("it is ours");
    }

    #[test]
    fn what_cannot_be_put_back_is_said() {
        let error = taken_back(anyhow!("full"), vec![Undo::Remove("/nowhere/at/all".into())]);
        assert!(format!("{error:#}").starts_with("these could not be put back as they were: /nowhere/at/all ("));
    }
}
