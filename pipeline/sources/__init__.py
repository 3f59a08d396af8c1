"""Sources: files of many forms and databases, read as tables, each record counted."""
