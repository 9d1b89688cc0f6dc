"""Dead letters: a record that cannot be taken goes to `<topic>-dlq`; a row says what became of it; a person decides."""
