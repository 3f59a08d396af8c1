"""Values of theirs in our columns and types, each within its rules, or the reason it is not."""
