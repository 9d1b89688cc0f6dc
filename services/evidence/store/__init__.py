"""Evidence's stores: rows in PostgreSQL say what was signed; files named by their digest hold the content."""
