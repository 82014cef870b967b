//! How documents flow down the tree and what nodes say of themselves flows up.
//!
//! [`follow`] is the child's side: it watches the parent, verifies what is
//! new and switches generation; [`parents`] are its ways upward. [`serve`] is the
//! parent's side; [`followers`] knows which children are there. [`status`] keeps
//! each node's own word and [`report`] passes it upward. Payloads move apart from
//! this, in [`crate::content`].

pub mod fetch;
pub mod follow;
pub mod followers;
#[cfg(test)]
mod fuzz;
pub mod history;
pub mod own;
pub mod parents;
pub mod report;
pub mod serve;
pub mod status;
