"""The facts of an atlas: its pairs, keys, plan, records, manifest and roads."""
