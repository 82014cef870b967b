//! Cutting large sets into small documents.
