//! What headquarters signs, as every program of the mesh finds and reads it:
//! nodes, which keep a whole generation of it, and agents, which read what
//! concerns one machine.

pub mod document;
pub mod names;
