"""The database: engines, the one transaction, the unit of work, what all tables share."""
