"""The policy of approval: values in, decisions out."""
