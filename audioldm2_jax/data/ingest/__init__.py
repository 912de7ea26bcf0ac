"""Files as distributed to clip records: archives, tables, folders, audio decoding."""
