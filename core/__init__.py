"""The method and the formats of Isthmus.

Data flows one way: spec -> pairs -> frames -> sheet -> record -> manifest -> page. The folders of core are rooms on
floors, and a room imports from lower floors only: machine, store, pictures, models, then method beside atlas,
rendering, gallery, bench.
Nothing here imports Prefect. CONTRIBUTING.md has one line for every module.
"""

METHOD_VERSION = 6
"""Part of every key: raised whenever the same settings begin to give other pixels."""
