"""The page of features and the picture of a window."""
