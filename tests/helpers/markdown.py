"""Reading tables."""

import re


def rows(markdown, first_column):
    """The cells of the table that begins with ``first_column``, by the first of each row."""
    lines = markdown[markdown.index(f"| {first_column} |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]
    return {row[0].strip(): row for row in cells[2:]}, [name.strip() for name in cells[0]]
