//! What the daemon measures, and what of it somebody should hear.

mod events; // which kinds there are, when each is bad, when nothing can be told
mod source; // servers asked what they say of themselves
