//! The agent on a machine. [`inventory`] gathers what is known of it.

pub mod inventory;
