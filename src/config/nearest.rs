//! "Did you mean …": the nearest of the known words.

/// The candidate that a slip of the keyboard turns into `word`, if there is one: at most one edit
/// in three characters.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let letters: Vec<char> = word.chars().collect();
    if letters.len() > 64 {
        return None; // no key is that long, and the distance costs the square
    }
    let allowed = (letters.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&letters, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// The sentence for a word nobody knows.
pub(super) fn suggestion(word: &str, candidates: &[&str]) -> String {
    match (nearest(word, candidates.iter().copied()), candidates) {
        (Some(near), _) => format!("Did you mean `{near}`?"),
        (None, []) => "There is none yet.".to_owned(),
        (None, all) => {
            let listed: Vec<String> = all.iter().map(|name| format!("`{name}`")).collect();
            format!("Known are {}.", listed.join(", "))
        }
    }
}

/// Edits from one to the other: insertion, deletion, replacement, and exchange of neighbours
/// (the restricted Damerau-Levenshtein distance).
fn distance(from: &[char], to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut cost = (last[j + 1] + 1).min(row[j] + 1).min(last[j] + usize::from(a != b));
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let known = ["daily", "weekly_day", "weekly_extra", "rpo", "rto"];
        for (word, expected) in [
            ("dayly", Some("daily")),
            ("dialy", Some("daily")),
            ("weekly_ekstra", Some("weekly_extra")),
            ("rop", Some("rpo")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }

    #[test]
    fn distance_is_zero_only_for_the_same_word() {
        for (a, b, edits) in
            [("", "", 0), ("", "ab", 2), ("ab", "ba", 1), ("kitten", "sitting", 3), ("x", "x", 0)]
        {
            let letters: Vec<char> = a.chars().collect();
            assert_eq!(distance(&letters, b), edits, "{a} {b}");
        }
    }
}
