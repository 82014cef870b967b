//! What the machine's administrator states of it: `etc/patchmesh/facts.d/*.toml`,
//! texts by name, and a list `products`.
//!
//! ```toml
//! exposure = "internet"
//! products = ["exchange-2019"]
//! ```

use std::collections::BTreeMap;

use patchmesh_topology::applicability::Inventory;
use patchmesh_topology::report::{MAX_FACT_NAME, MAX_FACT_VALUE};
use toml::{Spanned, Value};

use super::Error;
use super::rooted::Root;

const FOLDER: &str = "etc/patchmesh/facts.d";

const MAX_FILES: usize = 64;

const MAX_FILE: u64 = 64 << 10;

/// Facts and products of all files together.
pub(super) const MAX_FACTS: usize = 256;

/// The list that adds products.
const PRODUCTS: &str = "products";

/// Reads the files in the order of their names; a later one wins.
pub(super) fn read(root: &Root, inventory: &mut Inventory) -> Result<(), Error> {
    for name in root.names(FOLDER, ".toml", MAX_FILES)? {
        let path = format!("{FOLDER}/{name}");
        let Some(text) = root.text(&path, MAX_FILE)? else { continue };
        let wrong = |at: usize, what: String| {
            let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
            Error::Content { path: path.clone().into(), line, what }
        };
        let table: BTreeMap<String, Spanned<Value>> = toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            wrong(at, format!("this is no TOML: {}", error.message().replace('\n', " ")))
        })?;
        for (key, value) in table {
            let at = value.span().start;
            state(inventory, key, value.into_inner()).map_err(|what| wrong(at, what))?;
        }
    }
    Ok(())
}

fn state(inventory: &mut Inventory, key: String, value: Value) -> Result<(), String> {
    let has_room = |inventory: &Inventory| match inventory.facts.len() + inventory.products.len() {
        0..MAX_FACTS => Ok(()),
        _ => Err(format!("there are more than {MAX_FACTS} facts and products")),
    };
    if key == PRODUCTS {
        let list = value.as_array().ok_or("products is no list; write products = [\"NAME\"]")?;
        for one in list {
            has_room(inventory)?;
            let product = one.as_str().ok_or("products has something that is no text")?;
            inventory.products.push(checked("product", product)?);
        }
        return Ok(());
    }
    has_room(inventory)?;
    if key.is_empty() || key.chars().count() > MAX_FACT_NAME {
        return Err(format!("{key:?} is no name of a fact; use up to {MAX_FACT_NAME} characters"));
    }
    let value = value
        .as_str()
        .ok_or_else(|| format!("{key} is no text; put what you state in quotes"))
        .and_then(|text| checked(&key, text))?;
    inventory.facts.insert(key, value);
    Ok(())
}

fn checked(name: &str, text: &str) -> Result<String, String> {
    let is_good = text.chars().count() <= MAX_FACT_VALUE && !text.chars().any(char::is_control);
    if is_good {
        return Ok(text.to_owned());
    }
    Err(format!("{name} has a control character or more than {MAX_FACT_VALUE} characters"))
}
