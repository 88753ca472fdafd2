//! Decisions: (facts, policy, now) to a plan in which every item carries its reason. Pure.
