use std::path::Path;

use clap::CommandFactory;

use super::*;

/// Every command that does something, with the words that lead to it.
fn leaves() -> Vec<(Vec<String>, clap::Command)> {
    fn collect(
        path: &[String],
        command: &clap::Command,
        found: &mut Vec<(Vec<String>, clap::Command)>,
    ) {
        let mut path = path.to_vec();
        path.push(command.get_name().to_owned());
        if command.has_subcommands() {
            command
                .get_subcommands()
                .filter(|command| command.get_name() != "help")
                .for_each(|command| collect(&path, command, found));
        } else {
            found.push((path, command.clone()));
        }
    }
    let mut found = Vec::new();
    collect(&[], &command(), &mut found);
    found
}

/// The example lines of a help text, continued lines joined.
pub(super) fn examples(help: &str) -> Vec<String> {
    let joined = help.replace("\\\n", " ");
    let is_example = |line: &&str| line.starts_with("  ") && line.contains("patchmesh ");
    let before_json = joined.split("\n\nJSON:").next().unwrap_or_default();
    before_json.lines().filter(is_example).map(|line| line.trim().to_owned()).collect()
}

/// The words of a line as a shell splits them, up to a redirection and
/// without settings of variables at its beginning.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        let last = words.last_mut().expect("never empty");
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (' ', None) => words.push(String::new()),
            (c, _) => last.push(c),
        }
    }
    assert_eq!(quote, None, "an open quote in {line}");
    words.retain(|word| !word.is_empty());
    words
        .into_iter()
        .skip_while(|word| word != "patchmesh")
        .take_while(|word| !matches!(word.as_str(), "<" | ">" | "|"))
        .collect()
}

#[test]
fn clap_finds_no_fault() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example_and_every_example_parses() {
    let leaves = leaves();
    assert!(leaves.len() > 20, "{}", leaves.len());
    for (path, command) in leaves {
        let name = path.join(" ");
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = examples(&help);
        let own = examples.iter().filter(|example| {
            let words = words(example);
            let mut rest = path.iter();
            let mut next = rest.next();
            for word in &words {
                if Some(word) == next {
                    next = rest.next();
                }
            }
            next.is_none()
        });
        assert!(own.count() > 0, "`{name}` has no example of its own");
        for example in examples {
            if let Err(error) = Cli::try_parse_from(words(&example)) {
                panic!("`{name}`: example {example:?} does not parse: {error}");
            }
        }
    }
}

#[test]
fn every_command_and_option_is_explained() {
    for (path, command) in leaves() {
        let name = path.join(" ");
        assert!(command.get_about().is_some(), "`{name}` does not say what it does");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            assert!(
                argument.get_help().is_some(),
                "`{name}`: {} is not explained",
                argument.get_id()
            );
        }
    }
}

#[test]
fn every_command_that_answers_says_what_its_json_is() {
    for (path, command) in leaves() {
        let name = path.join(" ");
        // One runs until it is stopped, the other prints a script.
        if matches!(name.as_str(), "patchmesh serve" | "patchmesh completions") {
            continue;
        }
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("\n\nJSON:\n"), "`{name}` does not describe its JSON");
    }
}

#[test]
fn wrong_arguments_exit_as_documented() {
    let code = |arguments: &[&str]| format!("{:?}", main(arguments.iter().map(OsString::from)));
    let expected = |exit: Exit| format!("{:?}", ExitCode::from(exit));
    assert_eq!(code(&["patchmesh", "fly"]), expected(Exit::Usage));
    assert_eq!(code(&["patchmesh", "approve", "not-a-revision"]), expected(Exit::Usage));
    assert_eq!(code(&["patchmesh", "decline", "v:s/n@1"]), expected(Exit::Usage));
    assert_eq!(code(&["patchmesh", "decline", "v:s/n@1", "--comment", ""]), expected(Exit::Usage));
    assert_eq!(code(&["patchmesh", "--help"]), expected(Exit::Success));
}

/// The command lines of a page's blocks of code, continued lines joined.
fn commands_of(page: &str) -> Vec<String> {
    let joined = page.replace("\\\n", " ");
    let mut is_fenced = false;
    let mut found = Vec::new();
    for line in joined.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            continue;
        }
        let line = match (is_fenced, line.strip_prefix("    ")) {
            (true, _) => line.trim(),
            (false, Some(line)) => line.trim(),
            (false, None) => continue,
        };
        let line = line.strip_prefix("runuser -u patchmesh -- ").unwrap_or(line);
        // What comes after a pipe is a command of its own.
        let parts = line.split(" | ").map(str::trim);
        found.extend(parts.filter(|part| part.starts_with("patchmesh ")).map(str::to_owned));
    }
    found
}

#[test]
fn every_command_in_the_documentation_parses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs")).expect("docs") {
        let path = entry.expect("an entry").path();
        // Made from the help itself.
        let is_reference = path.ends_with("cli.md");
        pages.extend(
            (path.extension().is_some_and(|one| one == "md") && !is_reference).then_some(path),
        );
    }
    // What a reader fills in.
    const FILLED_IN: [(&str, &str); 5] = [
        ("https://…", "https://a"),
        ("$MIRROR", "https://a"),
        ("REVISION", "vendor:stable/app@1"),
        (" URL", " https://a"),
        (" …", ""),
    ];
    let (mut count, mut faults) = (0, String::new());
    for page in pages {
        for command in commands_of(&std::fs::read_to_string(&page).expect("a page")) {
            // Without a remark, the sign of a job in the background, and the
            // brackets around what may be left out.
            let line = command.split(" #").next().unwrap_or_default();
            let line = line.split(" &").next().unwrap_or_default().replace(['[', ']'], "");
            let line = FILLED_IN.iter().fold(line, |line, (blank, word)| line.replace(blank, word));
            if let Err(error) = Cli::try_parse_from(words(&line)) {
                faults.push_str(&format!("{}: {command}\n{error}\n", page.display()));
            }
            count += 1;
        }
    }
    assert_eq!(faults, "");
    assert!(count > 50, "only {count} commands were found");
}
