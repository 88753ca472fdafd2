//! What can be shown afterwards: facts, verdicts, reports.
