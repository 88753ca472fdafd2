//! The rules of the house, checked: imports, first lines, sizes.
