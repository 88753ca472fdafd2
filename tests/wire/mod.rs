//! The PostgreSQL client against real servers.
