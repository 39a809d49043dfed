"""The policy of intake: values in, decisions out."""
