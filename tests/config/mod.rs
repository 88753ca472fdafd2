//! Configuration: every problem at once, and the commented example.
