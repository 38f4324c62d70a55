"""The gallery: one static page over shards of the records.

The page works from a folder as well as from a web server. A page that was opened from a folder may load scripts but not
fetch data, so shards are classic scripts: index shards, one list per field, are loaded with the page, and detail
shards, with whole records, when a pair is opened. Everything here is a pure function of its arguments: the same atlas
gives the same bytes.

Names, reasons and settings are data from outside. They reach the page as JSON or through Jinja's escaping, and from
there only ever as text.
"""
