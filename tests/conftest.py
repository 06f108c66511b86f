"""The testing kit: what there is stands in tests/fixtures/, rows are made by tests/factories/."""

pytest_plugins = [
    "tests.fixtures.servers",
    "tests.fixtures.databases",
    "tests.fixtures.application",
    "tests.fixtures.logs",
    "tests.fixtures.statements",
    "tests.fixtures.jobs",
    "tests.fixtures.rows",
    "tests.factories",
]
