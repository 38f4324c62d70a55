"""The gallery: one static page over data from the records.

The page works from a folder as well as from a web server. A page that is opened from a folder may load scripts but not
fetch data, so the data are classic scripts. The index is loaded with the page. Blocks of columns are loaded when the
page needs them, and scripts with whole records when a pair is opened. Everything here is a pure function of its
arguments: the same atlas gives the same bytes.

Names, reasons and settings are untrusted data. They enter the page as JSON or through Jinja's escaping, and the page
shows them only as text.
"""
