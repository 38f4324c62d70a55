"""The gallery: one static page over shards of the records.

The page works from a folder as well as from a web server. A page that is opened from a folder may load scripts but not
fetch data, so shards are classic scripts. Index shards, with one list per field, are loaded with the page. Detail
shards, with whole records, are loaded when a pair is opened. Everything here is a pure function of its arguments: the
same atlas gives the same bytes.

Names, reasons and settings are untrusted data. They enter the page as JSON or through Jinja's escaping, and the page
shows them only as text.
"""
