//! The main job on a throw-away PostgreSQL, end to end.
