"""Alembic's environment. All it does stands in service/migrations/."""

from alembic import context

from service import migrations, schema

migrations.run(context, schema.metadata)
