//! What we know locally, in SQLite; always rebuildable from the repository.
