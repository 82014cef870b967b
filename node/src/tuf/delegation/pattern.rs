//! Shell-style patterns of target paths.

/// Whether `path` matches a shell-style `pattern`: `*` stands for any run of characters, `?` for one, and neither for `/`.
/// Everything else stands for itself, including `[`, which the specification does not mention.
pub fn matches_pattern(pattern: &str, path: &str) -> bool {
    let mut patterns = pattern.split('/');
    let mut parts = path.split('/');
    loop {
        match (patterns.next(), parts.next()) {
            (Some(pattern), Some(part)) if matches_part(pattern, part) => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Takes time of at most the product of both lengths: on a mismatch only the last `*` is tried again.
fn matches_part(pattern: &str, part: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let part: Vec<char> = part.chars().collect();
    let (mut at, mut read) = (0, 0);
    let mut retry = None;
    while read < part.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at, read));
                at += 1;
            }
            Some(&symbol) if symbol == '?' || symbol == part[read] => {
                at += 1;
                read += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    at = star + 1;
                    read = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|symbol| *symbol == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_within_one_part() {
        for (pattern, path, expected) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a/*", "a/", true),
            ("foo-?.tgz", "foo-1.tgz", true),
            ("foo-?.tgz", "foo-12.tgz", false),
            ("*.md", "README.MD", false),
            ("*a*b*c", "xaxbxbxc", true),
            ("*a*b*c", "xaxbxbx", false),
            ("[a]", "a", false),
            ("[a]", "[a]", true),
            ("é?", "éè", true),
            ("", "a", false),
        ] {
            assert_eq!(matches_pattern(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_is_not_slow() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!matches_pattern(&pattern, &"a".repeat(2_000)));
    }
}
