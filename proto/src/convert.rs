//! Wire to model and back.
