//! Sentences to come.
