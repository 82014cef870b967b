//! The wire formats as others depend on them: what is written can be read,
//! what is wrong is refused with its place, and nothing published changes.

mod assessments;
mod baselines;
mod compat;
mod lab;
mod lint;
mod models;
mod plans;
mod refusals;
mod round_trip;
mod schema;
mod sets;
