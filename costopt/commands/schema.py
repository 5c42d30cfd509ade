"""`costopt schema`: the JSON Schema of the budget file, for editors that complete and check YAML."""

import typer


def schema() -> None:
    """Print the JSON Schema of the budget file."""
    import json

    from costopt import plan

    typer.echo(json.dumps(plan.json_schema(), indent=2))
