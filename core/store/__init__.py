"""The store of an atlas: a directory or a bucket."""
