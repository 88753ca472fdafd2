//! First lines, lengths of lines, functions and files, and words that must not stay.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const LINE_COLUMNS: usize = 100;
const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 400;

/// Drawers where anything lands, and nothing is found again.
const DRAWERS: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc"];

/// A file that may be long.
#[derive(Debug)]
pub(super) struct LongFile {
    pub(super) path: &'static str,
    pub(super) because: &'static str,
}

/// Everything wrong with the shape of one file.
pub(super) fn problems(long: &[LongFile], path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//! ") {
        found.push(format!("{path}:1: the first line does not say what the file is for (`//! …`)"));
    }
    let lines = text.lines().count();
    match (lines > FILE_LINES, long.iter().find(|file| file.path == path)) {
        (true, None) => found.push(format!("{path}: {lines} lines, over {FILE_LINES}")),
        (false, Some(file)) => {
            found.push(format!("{path}: no longer long, but listed ({})", file.because));
        }
        _ => {}
    }
    for (number, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS {
            found.push(format!("{path}:{}: {columns} columns, over {LINE_COLUMNS}", number + 1));
        }
        // Spelled apart, so that this file passes.
        if line.contains(concat!("FIX", "ME")) {
            found.push(format!("{path}:{}: an unfinished spot", number + 1));
        }
    }
    let file = syn::parse_file(text).expect("a file that compiles");
    let mut walk = Walk { path, found };
    walk.visit_file(&file);
    walk.found
}

/// A module's name says what is in it.
pub(super) fn name(path: &str) -> Vec<String> {
    let parts = path.trim_end_matches(".rs").split('/');
    let drawers = parts.filter(|part| DRAWERS.contains(part));
    drawers.map(|part| format!("{path}: `{part}` does not say what is in it")).collect()
}

struct Walk<'a> {
    path: &'a str,
    found: Vec<String>,
}

impl Walk<'_> {
    fn function(&mut self, name: &syn::Ident, attributes: &[syn::Attribute], body: &syn::Block) {
        for attribute in attributes {
            if attribute.path().is_ident("ignore") {
                let line = attribute.span().start().line;
                self.found.push(format!("{}:{line}: `{name}` is ignored", self.path));
            }
        }
        let (start, end) = (name.span().start().line, body.span().end().line);
        let lines = end + 1 - start;
        if lines > FUNCTION_LINES {
            self.found.push(format!(
                "{}:{start}: `{name}` has {lines} lines, over {FUNCTION_LINES}",
                self.path
            ));
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident, &item.attrs, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig.ident, &item.attrs, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig.ident, &item.attrs, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let line = item.ident.span().start().line;
        if DRAWERS.iter().any(|drawer| item.ident == drawer) {
            self.found.push(format!(
                "{}:{line}: module `{}` does not say what is in it",
                self.path, item.ident
            ));
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let name = item.path.segments.last().map(|last| last.ident.to_string());
        if name.is_some_and(|name| name == "todo" || name == "unimplemented") {
            let line = item.span().start().line;
            self.found.push(format!("{}:{line}: not written yet", self.path));
        }
        visit::visit_macro(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        problems(&[], "src/a.rs", text).len()
    }

    #[test]
    fn what_is_out_of_shape_is_found() {
        let body = |lines: usize| format!("//! A.\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines));
        let method = |lines: usize| {
            format!("//! A.\nimpl S {{ fn f() {{\n{}}} }}\n", "    g();\n".repeat(lines))
        };
        let wide = |columns: usize| format!("//! A.\n// {}\n", "é".repeat(columns - 3));
        let long = |lines: usize| format!("//! A.\n{}", "//\n".repeat(lines - 1));
        for (text, problems) in [
            ("//! A.\nfn f() {}\n".to_owned(), 0),
            ("fn f() {}\n".to_owned(), 1),
            ("// A.\nfn f() {}\n".to_owned(), 1),
            (body(68), 0),
            (body(69), 1),
            (method(69), 1),
            (wide(100), 0),
            (wide(101), 1),
            (long(400), 0),
            (long(401), 1),
            ("//! A.\nfn f() { todo!() }\n".to_owned(), 1),
            ("//! A.\nfn f() { std::unimplemented!(\"later\") }\n".to_owned(), 1),
            (format!("//! A.\n// {}: later\n", concat!("FIX", "ME")), 1),
            ("//! A.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}\n".to_owned(), 1),
            ("//! A.\nmod common { }\n".to_owned(), 1),
        ] {
            assert_eq!(count(&text), problems, "{text}");
        }
    }

    #[test]
    fn long_files_need_a_reason_and_drawers_have_none() {
        let text = format!("//! A.\n{}", "//\n".repeat(500));
        let long = [LongFile { path: "src/a.rs", because: "one table" }];
        assert_eq!(problems(&long, "src/a.rs", &text), Vec::<String>::new());
        assert_eq!(problems(&long, "src/b.rs", &text).len(), 1);
        assert_eq!(problems(&long, "src/a.rs", "//! A.\n").len(), 1);
        assert_eq!(name("src/plan/utils.rs").len(), 1);
        assert_eq!(name("src/common/mod.rs").len(), 1);
        assert_eq!(name("src/plan/due.rs"), Vec::<String>::new());
    }
}
