"""The method and the formats of Isthmus.

Data flows one way, spec -> pairs -> frames -> sheet -> record -> manifest -> page, and there is about one module for
each of these nouns. Nothing in here knows of Prefect, and only the modules that make images (`color`,
`parameterization`, `objectives`, `transforms`, `convolutions`, `optimise`, `strip`, `relu`) import TensorFlow.
"""

METHOD_VERSION = 5
"""Part of every key: raised whenever the same settings begin to give other pixels."""
