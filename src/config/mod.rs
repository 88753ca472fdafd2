//! TOML to a checked configuration, or every problem at once with file, line and column. Pure.
