"""Writes the checked-in JSON Schema for editors: `python -m shared.catalogue.editor`."""

from shared.catalogue.catalogue import EDITOR_SCHEMA, editor_schema_text

if __name__ == "__main__":
    EDITOR_SCHEMA.write_text(editor_schema_text(), encoding="utf-8")
