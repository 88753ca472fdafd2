//! Every path that a file names, in imports, in code and inside macros, from its tokens.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path such as `crate::plan::recovery`, with imports in braces taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// How many inline modules surround it, for the meaning of `super`.
    pub(super) depth: usize,
}

/// Paths of `text`, which must be Rust. Modules under `#[cfg(test)]` are left out: a test stands
/// outside the rooms.
pub(super) fn named(text: &str) -> Vec<Named> {
    let tokens: TokenStream = text.parse().expect("a file that compiles");
    let mut found = Vec::new();
    walk(tokens, 0, &mut found);
    found
}

fn walk(tokens: TokenStream, depth: usize, found: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if let Some(end) = test_module(&tokens[at..]) {
            at += end;
            continue;
        }
        match &tokens[at] {
            TokenTree::Ident(_) => at = path(&tokens, at, &[], depth, found),
            TokenTree::Group(group) => {
                let inside_module = group.delimiter() == Delimiter::Brace
                    && at >= 2
                    && matches!(&tokens[at - 2], TokenTree::Ident(word) if word == "mod");
                walk(group.stream(), depth + usize::from(inside_module), found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads the path that begins at `at`, and what its braces hold; where it ends.
fn path(
    tokens: &[TokenTree],
    mut at: usize,
    before: &[String],
    depth: usize,
    found: &mut Vec<Named>,
) -> usize {
    let mut segments = before.to_vec();
    let line = tokens[at].span().start().line;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => segments.push(word.to_string()),
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => segments.push("*".into()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                branches(group.stream(), &segments, depth, found);
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        if !(is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1))) {
            break;
        }
        at += 2;
    }
    found.push(Named { segments, line, depth });
    at
}

/// The items of `use a::{b, c::d};`.
fn branches(stream: TokenStream, before: &[String], depth: usize, found: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut at = 0;
    let mut starts = true;
    while at < tokens.len() {
        if starts {
            at = path(&tokens, at, before, depth, found).max(at + 1);
        } else {
            at += 1;
        }
        starts =
            matches!(tokens.get(at - 1), Some(TokenTree::Punct(comma)) if comma.as_char() == ',');
    }
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(colon)) if colon.as_char() == ':')
}

/// How many tokens `#[cfg(test)] mod name { … }` (or `;`) takes, if that is what comes.
fn test_module(tokens: &[TokenTree]) -> Option<usize> {
    let [TokenTree::Punct(hash), TokenTree::Group(attribute), rest @ ..] = tokens else {
        return None;
    };
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    if hash.as_char() != '#' || text != "cfg(test)" {
        return None;
    }
    let module = rest.iter().position(|t| matches!(t, TokenTree::Ident(w) if w == "mod"))?;
    // Attributes may stand between, nothing else.
    let attributes_only = rest[..module]
        .iter()
        .all(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == '#') || is_bracket(t));
    attributes_only.then_some(2 + module + 3)
}

fn is_bracket(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let longer = named(text).into_iter().filter(|path| path.segments.len() > 1);
        longer.map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn finds_paths_wherever_they_stand() {
        for (text, expected) in [
            ("use crate::plan;", vec!["crate::plan"]),
            (
                "use crate::{a, b::{c, d as e}, f::*};",
                vec!["crate::a", "crate::b::c", "crate::b::d", "crate::f::*"],
            ),
            ("use a::{self, b};", vec!["a::self", "a::b"]),
            (
                "fn f() -> crate::a::B { crate::c::d::<crate::e::F>() }",
                vec!["crate::a::B", "crate::c::d", "crate::e::F"],
            ),
            ("fn f() { println!(\"{}\", crate::a::b()); }", vec!["crate::a::b"]),
            ("pub(crate) struct S; // crate::a", vec![]),
            ("/// See [`crate::a::b`].\nstruct S;", vec![]),
            ("#[cfg(test)] mod tests { use crate::a; } use crate::b;", vec!["crate::b"]),
            ("#[cfg(test)] mod tests; use crate::b;", vec!["crate::b"]),
            ("#[cfg(test)] use crate::b;", vec!["crate::b"]),
        ] {
            assert_eq!(paths(text), expected, "{text}");
        }
    }

    #[test]
    fn counts_lines_and_inline_modules() {
        let found = named("mod a {\n use super::b;\n mod c { use super::super::d; }\n}");
        let at = |word: &str| {
            let path = found.iter().find(|path| path.segments.last().unwrap() == word).unwrap();
            (path.line, path.depth)
        };
        assert_eq!((at("b"), at("d")), ((2, 1), (3, 2)));
    }
}
