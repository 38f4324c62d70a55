"""The facts of an atlas: pairs, plan, records, manifest, roads."""
