"""Where an atlas is kept: a directory or a bucket."""
