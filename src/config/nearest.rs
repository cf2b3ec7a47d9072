//! What was meant by a word that is not known.

/// The candidate that a typing mistake turns into `word`, if one is near enough to be worth saying.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Capitals, `-` and `_` are the commonest slips: without them, `leastconn` begins like `least-connections`.
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let word = plain(word);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let plain = plain(candidate);
            let distance = distance(&word, &plain);
            let length = word.chars().count().max(plain.chars().count());
            // A third of the letters may be wrong; more is another word. One that only goes on is near all the same:
            // `warning` for `warn`, `max_conn` for `max_connections`.
            let begins_alike =
                word.len() >= 3 && plain.len() >= 3 && (word.starts_with(&plain) || plain.starts_with(&word));
            (distance <= length.div_ceil(3).max(1) && distance < length || begins_alike)
                .then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
pub(super) fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(MOST).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous = None;
    for (row, char) in left.chars().take(MOST).enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
            let mut best = at(&last, column) + usize::from(char != *other);
            best = best.min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            let neighbour = column.checked_sub(1).and_then(|index| right.get(index));
            if previous == Some(*other) && neighbour == Some(&char) {
                best = best.min(at(&before, column.saturating_sub(1)) + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut last, current);
        previous = Some(char);
    }
    last.last().copied().unwrap_or(0)
}

/// Longer words are no typing mistakes of ours, and the comparison costs their product.
const MOST: usize = 64;
