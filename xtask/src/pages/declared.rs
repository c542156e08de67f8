//! The public names that sources declare: items, and the members of types and traits.

use crate::workspace;
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};
use syn::visit::{self, Visit};

/// Names, as `Item` and as `Item::member`.
#[derive(Default)]
pub struct Declared {
    names: HashSet<String>,
    /// What a type alias stands for.
    aliases: HashMap<String, String>,
}

impl Declared {
    /// What the files below these directories of the workspace declare.
    pub fn in_sources(directories: &[&str]) -> Self {
        let mut declared = Declared::default();
        for directory in directories {
            declared.read(&workspace::root().join(directory));
        }
        declared
    }

    /// Whether `path` is declared: `Item`, or `Item::member`.
    pub fn has(&self, path: &str) -> bool {
        let aliased = || {
            let (item, member) = path.split_once("::")?;
            Some(format!("{}::{member}", self.aliases.get(item)?))
        };
        self.names.contains(path) || aliased().is_some_and(|path| self.names.contains(&path))
    }

    fn read(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).expect("the sources can be read") {
            let path = entry.expect("the sources can be read").path();
            if path.is_dir() {
                self.read(&path);
            } else {
                let text = fs::read_to_string(&path).expect("the sources can be read");
                self.visit_file(&syn::parse_file(&text).expect("the sources are Rust"));
            }
        }
    }

    fn add(&mut self, visibility: &syn::Visibility, name: &syn::Ident) {
        if matches!(visibility, syn::Visibility::Public(_)) {
            self.names.insert(name.to_string());
        }
    }

    fn add_member(&mut self, item: &impl ToString, member: &syn::Ident) {
        self.names.insert(format!("{}::{member}", item.to_string()));
    }
}

/// The name at the end of a type's path.
fn name_of(kind: &syn::Type) -> Option<String> {
    let syn::Type::Path(path) = kind else { return None };
    Some(path.path.segments.last()?.ident.to_string())
}

impl<'ast> Visit<'ast> for Declared {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.vis, &item.ident);
        for field in item.fields.iter().filter(|field| matches!(field.vis, syn::Visibility::Public(_))) {
            field.ident.iter().for_each(|name| self.add_member(&item.ident, name));
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.vis, &item.ident);
        item.variants.iter().for_each(|variant| self.add_member(&item.ident, &variant.ident));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.vis, &item.sig.ident);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.vis, &item.ident);
        self.aliases.extend(name_of(&item.ty).map(|target| (item.ident.to_string(), target)));
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        self.names.extend(item.ident.iter().map(|name| name.to_string()));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.vis, &item.ident);
        for member in &item.items {
            match member {
                syn::TraitItem::Fn(member) => self.add_member(&item.ident, &member.sig.ident),
                syn::TraitItem::Type(member) => self.add_member(&item.ident, &member.ident),
                syn::TraitItem::Const(member) => self.add_member(&item.ident, &member.ident),
                _ => {}
            }
        }
    }

    /// Also of types that a macro declares.
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let Some(name) = name_of(&item.self_ty) else { return };
        for member in &item.items {
            if let syn::ImplItem::Fn(member) = member
                && matches!(member.vis, syn::Visibility::Public(_))
            {
                self.add_member(&name, &member.sig.ident);
            }
        }
        visit::visit_item_impl(self, item);
    }
}

#[test]
fn items_members_and_aliases_are_declared() {
    let text = "pub struct A { pub b: u8, c: u8 }\nimpl A { pub fn d() {} fn e() {} }\npub trait T { fn f(); type G; }\n\
                pub type Short<'a> = A;\npub enum E { V }\nstruct Hidden;\nmacro_rules! m { () => {} }\n";
    let mut declared = Declared::default();
    declared.visit_file(&syn::parse_file(text).expect("it is Rust"));
    for path in ["A", "A::b", "A::d", "T", "T::f", "T::G", "Short", "Short::d", "E::V", "m"] {
        assert!(declared.has(path), "{path}");
    }
    for path in ["A::c", "A::e", "Hidden", "b", "Short::e", "A::x"] {
        assert!(!declared.has(path), "{path}");
    }
}
