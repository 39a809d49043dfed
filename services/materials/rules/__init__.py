"""The policy of materials: values in, decisions out."""
