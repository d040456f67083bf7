"""The rows and cells of tables, as the page and the files show them."""
