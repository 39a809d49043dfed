"""Everything about running onestop: the command, the supervisor, migrations, the processes."""
