//! Recovery plans and log records: tables and properties.
