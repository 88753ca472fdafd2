//! Real servers for tests: clusters of several PostgreSQL versions, free ports, clean-up.
