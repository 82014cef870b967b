//! Tokens as arguments.

use std::io::Read as _;

use super::exit::Exit;

/// The longest token read from standard input.
const MAX_TOKEN_BYTES: u64 = 16 * 1024;

/// The token that an argument is, or that standard input has where it is `-`.
///
/// # Errors
/// No token, or a standard input that cannot be read.
pub(crate) fn read_token(argument: String) -> anyhow::Result<String> {
    let text = if argument == "-" {
        let mut text = String::new();
        std::io::stdin().lock().take(MAX_TOKEN_BYTES).read_to_string(&mut text)?;
        text
    } else {
        argument
    };
    let token = text.trim();
    if token.is_empty() {
        return Err(
            Exit::BadData.error("there is no token; give the one that headquarters made for you")
        );
    }
    Ok(token.to_owned())
}
