//! Rehearsed recovery: isolated, checked, measured, torn down.
