//! Every use of the word `unsafe`, with the reason that stands beside it.

use super::{Finding, allowed::Allowed, source::Source};
use proc_macro2::{Span, TokenStream, TokenTree};
use std::fmt;
use syn::{spanned::Spanned, visit::Visit};

/// What is unsafe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Block,
    Function,
    Implementation,
    Trait,
    Extern,
    Attribute,
    /// Inside a macro's tokens, where only the word is visible.
    Macro,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Block => "block",
            Kind::Function => "fn",
            Kind::Implementation => "impl",
            Kind::Trait => "trait",
            Kind::Extern => "extern",
            Kind::Attribute => "attribute",
            Kind::Macro => "in macro",
        })
    }
}

/// One use of `unsafe`.
#[derive(Debug)]
pub struct Use {
    pub line: usize,
    pub kind: Kind,
    pub reason: Option<String>,
}

/// All uses in `source`, in the order of the file.
pub fn find(source: &Source) -> Vec<Use> {
    let mut finder = Finder { source, uses: Vec::new(), anchors: vec![1] };
    finder.visit_file(&source.tree);
    finder.uses.sort_by_key(|found| found.line);
    finder.uses
}

/// What is wrong with the uses in `source`.
pub fn check(source: &Source, uses: &[Use], allowed: &Allowed) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(first) = uses.first().filter(|_| !allowed.permits(&source.path)) {
        let sentence = format!(
            "`unsafe` ({} uses) in a module that the table \"Where unsafe lives\" of ARCHITECTURE.md does not list",
            uses.len()
        );
        findings.push(Finding::new(&source.path, first.line, sentence));
    }
    for found in uses {
        if found.reason.is_none() {
            let sentence = format!(
                "`unsafe` ({}) without a reason: write `// SAFETY: ...` above it{}",
                found.kind,
                if matches!(found.kind, Kind::Function | Kind::Trait) { ", or a `# Safety` section" } else { "" }
            );
            findings.push(Finding::new(&source.path, found.line, sentence));
        }
    }
    findings
}

struct Finder<'a> {
    source: &'a Source,
    uses: Vec<Use>,
    /// The first lines of the items and statements around the current place, the innermost last.
    anchors: Vec<usize>,
}

impl Finder<'_> {
    fn add(&mut self, kind: Kind, span: Span) {
        let line = span.start().line;
        let anchor = self.anchors.last().copied().unwrap_or(line).min(line);
        let reason = self.source.note("SAFETY:", line, line).or_else(|| self.source.note("SAFETY:", anchor, line));
        let reason = match kind {
            Kind::Function | Kind::Trait | Kind::Attribute | Kind::Macro => reason
                .or_else(|| self.source.note("# Safety", anchor, line))
                .or_else(|| self.source.note("# Safety", line, line)),
            _ => reason,
        };
        self.uses.push(Use { line, kind, reason });
    }

    /// Notes an `unsafe fn`. In the implementation of a trait the trait states what its callers owe.
    fn function(&mut self, signature: &syn::Signature, in_trait_impl: bool) {
        if let Some(word) = &signature.unsafety {
            self.add(Kind::Function, word.span());
            if in_trait_impl && let Some(found) = self.uses.last_mut() {
                found.reason.get_or_insert_with(|| "as the trait it implements says".into());
            }
        }
    }

    fn within<T>(&mut self, node: &T, visit: impl FnOnce(&mut Self, &T))
    where
        T: Spanned,
    {
        self.anchors.push(node.span().start().line);
        visit(self, node);
        self.anchors.pop();
    }

    fn tokens(&mut self, tokens: TokenStream) {
        for span in unsafe_words(tokens) {
            self.add(Kind::Macro, span);
        }
    }
}

/// The places of the word `unsafe` in a macro's tokens, but not as the name of a metavariable, whose text is the
/// caller's.
pub fn unsafe_words(tokens: TokenStream) -> Vec<Span> {
    let mut found = Vec::new();
    let mut after_dollar = false;
    for token in tokens {
        match &token {
            TokenTree::Ident(word) if *word == "unsafe" && !after_dollar => found.push(word.span()),
            TokenTree::Group(group) => found.extend(unsafe_words(group.stream())),
            _ => {}
        }
        after_dollar = matches!(&token, TokenTree::Punct(mark) if mark.as_char() == '$');
    }
    found
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, node: &'ast syn::Item) {
        self.within(node, |this, node| syn::visit::visit_item(this, node));
    }

    fn visit_stmt(&mut self, node: &'ast syn::Stmt) {
        self.within(node, |this, node| syn::visit::visit_stmt(this, node));
    }

    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        self.within(node, |this, node| syn::visit::visit_arm(this, node));
    }

    fn visit_trait_item(&mut self, node: &'ast syn::TraitItem) {
        self.within(node, |this, node| syn::visit::visit_trait_item(this, node));
    }

    fn visit_expr_unsafe(&mut self, node: &'ast syn::ExprUnsafe) {
        self.add(Kind::Block, node.unsafe_token.span());
        syn::visit::visit_expr_unsafe(self, node);
    }

    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        self.function(&node.sig, false);
        syn::visit::visit_item_fn(self, node);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        self.function(&node.sig, false);
        syn::visit::visit_trait_item_fn(self, node);
    }

    fn visit_item_impl(&mut self, node: &'ast syn::ItemImpl) {
        if let Some(word) = &node.unsafety {
            self.add(Kind::Implementation, word.span());
        }
        for attribute in &node.attrs {
            self.visit_attribute(attribute);
        }
        for item in &node.items {
            self.within(item, |this, item| {
                if let syn::ImplItem::Fn(function) = item {
                    this.function(&function.sig, node.trait_.is_some());
                }
                syn::visit::visit_impl_item(this, item);
            });
        }
    }

    fn visit_item_trait(&mut self, node: &'ast syn::ItemTrait) {
        if let Some(word) = &node.unsafety {
            self.add(Kind::Trait, word.span());
        }
        syn::visit::visit_item_trait(self, node);
    }

    fn visit_item_foreign_mod(&mut self, node: &'ast syn::ItemForeignMod) {
        if let Some(word) = &node.unsafety {
            self.add(Kind::Extern, word.span());
        }
        syn::visit::visit_item_foreign_mod(self, node);
    }

    fn visit_attribute(&mut self, node: &'ast syn::Attribute) {
        if node.path().is_ident("unsafe") {
            self.add(Kind::Attribute, node.path().span());
        }
    }

    fn visit_macro(&mut self, node: &'ast syn::Macro) {
        self.tokens(node.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, Kind, Option<String>)> {
        let source = Source::parse("x.rs", text).expect("the snippet parses");
        find(&source).into_iter().map(|found| (found.line, found.kind, found.reason)).collect()
    }

    #[test]
    fn a_block_has_the_reason_above_it_or_above_its_statement() {
        let text = "fn f() {\n    // SAFETY: alone.\n    unsafe { g() };\n    // SAFETY: above.\n    let x =\n        unsafe { h() };\n    unsafe { i() };\n}\n";
        let uses = found(text);
        assert_eq!(uses[0], (3, Kind::Block, Some("alone.".into())));
        assert_eq!(uses[1], (6, Kind::Block, Some("above.".into())));
        assert_eq!(uses[2], (7, Kind::Block, None), "the reason of another statement is not its own");
    }

    #[test]
    fn functions_traits_and_implementations_count() {
        let text = "/// Does.\n///\n/// # Safety\n/// Only once.\npub unsafe fn f() {}\n// SAFETY: the lock.\nunsafe impl Sync for X {}\nunsafe trait T {}\n// SAFETY: as declared.\nunsafe extern \"C\" { fn g(); }\nunsafe impl A for B { unsafe fn m() {} }\n";
        let uses = found(text);
        assert_eq!(uses[0], (5, Kind::Function, Some("Only once.".into())));
        assert_eq!(uses[1], (7, Kind::Implementation, Some("the lock.".into())));
        assert_eq!(uses[2], (8, Kind::Trait, None));
        assert_eq!(uses[3], (10, Kind::Extern, Some("as declared.".into())));
        assert_eq!(uses[4], (11, Kind::Implementation, None));
        assert_eq!(uses[5].2.as_deref(), Some("as the trait it implements says"));
    }

    #[test]
    fn macros_and_attributes_count_and_metavariables_do_not() {
        let text = "macro_rules! m { ($unsafe:tt) => { #[$unsafe(no_mangle)] fn f() {} } }\nmacro_rules! n { () => {\n    // SAFETY: by the caller.\n    unsafe { g() } } }\n// SAFETY: one symbol.\n#[unsafe(no_mangle)]\nfn f() {}\n// SAFETY: one HAL.\nexport!(unsafe HAL);\n";
        let uses = found(text);
        assert_eq!(uses.len(), 3, "{uses:?}");
        assert_eq!(uses[0], (4, Kind::Macro, Some("by the caller.".into())));
        assert_eq!(uses[1], (6, Kind::Attribute, Some("one symbol.".into())));
        assert_eq!(uses[2], (9, Kind::Macro, Some("one HAL.".into())));
    }

    #[test]
    fn a_module_off_the_list_and_a_missing_reason_are_findings() {
        let source = Source::parse("kernel/ke/src/x.rs", "fn f() { unsafe { g() } }").expect("it parses");
        let uses = find(&source);
        let findings = check(&source, &uses, &Allowed::of(&["kernel/ke/src/lock.rs"]));
        let sentences: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert_eq!(sentences.len(), 2, "{sentences:?}");
        assert!(sentences[0].starts_with("kernel/ke/src/x.rs:1: ") && sentences[0].contains("does not list"));
        assert!(sentences[1].contains("SAFETY"), "{sentences:?}");
        assert_eq!(check(&source, &uses, &Allowed::of(&["kernel/ke/src"])).len(), 1);
    }
}
